//! `podcov bundle`: the bundle of programs that podcov did not build.

use podcov_build::{Context, Foreign};

use crate::args::{Bundle, Global};
use crate::exit::{Exit, Failure, OrExit};
use crate::interrupt::on_interrupt;
use crate::print;
use crate::session::{Session, Which};
use crate::ui::Ui;

/// Runs the command.
pub fn bundle(global: &Global, args: &Bundle) -> Result<Exit, Failure> {
    // Held to the end: it has the lock of the run that is added to.
    let session = match &args.out {
        Some(_) => None,
        None => Some(Session::open(global, Which::Any)?),
    };
    let bundles = match (&args.out, &session) {
        (Some(out), _) => std::path::absolute(out).or_exit(Exit::Usage)?,
        (None, Some(session)) => session.run.bundle(),
        (None, None) => return Err(Failure::new(Exit::Fault, "expected a run or a folder")),
    };
    let cancel = podcov_process::Cancel::new();
    on_interrupt(&cancel);
    let ui = Ui::new(global.quiet);
    let step = ui.step("bundle", "");
    let foreign = Foreign {
        component: args.component.clone(),
        source_root: args.source_root.clone(),
        ..Foreign::default()
    };
    let cache = bundles.join(".cache");
    let context = Context {
        cache: &cache,
        bundles: &bundles,
        progress: &step,
        cancel: &cancel,
    };
    let made = podcov_build::bundle(&args.binaries, &foreign, &context);
    step.end_with(&made, |bundle| {
        format!("{} ({})", bundle.component, bundle.language)
    });
    let made = made.or_exit(Exit::Build)?;
    print::out(format_args!(
        "{}\n",
        bundles.join(&made.component).display()
    ))?;
    Ok(Exit::Fine)
}
