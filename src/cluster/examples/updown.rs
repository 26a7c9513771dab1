//! Takes an embedded cluster up and down again and again, tells the times, and
//! compares what the machine shows before and after:
//!
//!     cargo run -p podcov-cluster --example updown -- 20

#[path = "../tests/traces/mod.rs"]
mod traces;

use std::time::Instant;

use podcov_cluster::provider::{Provider, Settings, select};
use podcov_process::{Cancel, Progress};
use traces::Traces;

struct Notes;

impl Progress for Notes {
    fn status(&self, text: &str) {
        if std::env::var_os("VERBOSE").is_some() {
            println!("    {text}");
        }
    }

    fn note(&self, text: &str) {
        println!("  {text}");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let times: u32 = std::env::args()
        .nth(1)
        .map_or(Ok(20), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let mut settings = Settings::new("updown", folder.path().join("evidence"));
    settings.provider = Provider::Embedded;
    let cluster = select(settings)?;
    let before = Traces::take();
    let (mut ups, mut downs) = (Vec::new(), Vec::new());
    for round in 1..=times {
        let begin = Instant::now();
        cluster.up(&Notes, &Cancel::new())?;
        ups.push(begin.elapsed().as_secs_f64());
        let begin = Instant::now();
        cluster.down(&Notes)?;
        downs.push(begin.elapsed().as_secs_f64());
        println!(
            "{round:3}  up {:5.1} s  down {:4.1} s",
            ups[ups.len() - 1],
            downs[downs.len() - 1]
        );
    }
    let changes = Traces::take().changes_since(&before);
    for (what, all) in [("up", &ups), ("down", &downs)] {
        let most = all.iter().copied().fold(0.0, f64::max);
        println!(
            "{what}: mean {:.1} s, most {most:.1} s",
            all.iter().sum::<f64>() / all.len() as f64
        );
    }
    if changes.is_empty() {
        println!("nothing is left behind");
        return Ok(());
    }
    println!("left behind or changed:\n{}", changes.join("\n"));
    std::process::exit(1);
}
