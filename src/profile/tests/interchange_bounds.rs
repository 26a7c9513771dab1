//! What damaged, hostile and very large files may cost: no panic, no time out
//! of proportion, and memory within what `Limits` promise.
//!
//! One test, since memory is counted for the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use podcov_profile::error::Kind;
use podcov_profile::model::Coverage;
use podcov_profile::neutral::Parsed;
use podcov_profile::{ParseError, cobertura, codecov, lcov, llvm_json};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

type Read = fn(&[u8]) -> Result<Parsed, ParseError>;

const LCOV: &str = "TN:t\nSF:src/a.c\nVER:1\nFN:3,f\nFN:9,12,g(int, int)\nFNDA:1,f\nFNDA:0,g(int, int)\n\
    FNL:0,20,22\nFNA:0,4,h\nFNF:3\nFNH:2\nBRDA:4,0,0,1\nBRDA:4,e0,1,-\nBRDA:5,1,a == 1, b,7\nBRF:3\n\
    BRH:2\nMCDC:5,2,t,1,0,a\nDA:3,1,hPbL8dGTZ\nDA:9,-1\nDA:10,1e5\nLF:3\nLH:1\nend_of_record\n\
    SF:src/\u{e9}.c\r\nDA:1,18446744073709551615\r\nend_of_record\r\n";

const COBERTURA: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
    <!DOCTYPE coverage SYSTEM \"x.dtd\" [<!ENTITY a \"b\">]>\n<!-- c -->\
    <coverage line-rate=\"1\"><sources><source>/s&amp;&#65;<![CDATA[x]]></source></sources><packages>\
    <package name=\"p\"><classes><class name=\"a\" filename=\"a.py\"><methods><method name=\"m\" \
    signature=\"\"><lines><line number=\"1\" hits=\"2\"/></lines></method></methods><lines>\
    <line number=\"1\" hits=\"2\" branch=\"true\" condition-coverage=\"50% (1/2)\"><conditions>\
    <condition number=\"0\" type=\"jump\" coverage=\"50%\"/></conditions></line>\
    <line number=\"2\" hits=\"-1\"/></lines></class></classes></package></packages></coverage>\n";

const EXPORT: &str = r#"{"data":[{"files":[{"branches":[[2,7,2,12,3,1,0,0,4]],"filename":"/a.c",
    "segments":[[1,1,4,true,true,false],[3,2,0,false,false,false]],"summary":{}}],
    "functions":[{"name":"f","count":1,"filenames":["/a.c"],"regions":[[1,1,3,2,4,0,0,0]]}]}],
    "type":"llvm.coverage.json.export","version":"3.1.0"}"#;

const MODEL: &str = r#"{"schema":1,"composition":"c","components":[{"name":"a","language":"rust",
    "kind":"operator","binaries":[{"name":"a","identity":"build-id:00aa","profiles":2,"files":[{
    "path":"a.rs","package":"a","metrics":{"lines":{"covered":1,"total":1},"functions":{"covered":1,
    "total":1},"regions":{"covered":1,"total":1},"statements":{"covered":0,"total":0}},
    "lines":[{"number":3,"count":1}],"functions":[{"name":"f","start":3,"end":3,"count":1,"lines":{
    "covered":1,"total":1},"regions":[[3,1,3,9,7,0,3]],"instances":[["f::<u8>",1]]}],
    "branches":[[3,1,3,2,0,1]]}],"reach":{"sets":[[0,1]],"keys":{"x":0}}}],
    "incarnations_collected":1,"incarnations_lost":0}]}"#;

fn model(bytes: &[u8]) -> Result<Parsed, ParseError> {
    let coverage = Coverage::parse(bytes)?;
    Ok(Parsed {
        coverage: podcov_profile::neutral::LineCoverage::of(&coverage, &Default::default()),
        ..Parsed::default()
    })
}

const READERS: [(&str, Read, &str); 4] = [
    ("lcov", lcov::parse, LCOV),
    ("cobertura", cobertura::parse, COBERTURA),
    ("export", llvm_json::parse, EXPORT),
    ("model", model, MODEL),
];

/// Reads, writes what was read in every format, and tells the outcome.
fn survive(name: &str, read: Read, bytes: &[u8]) -> Result<(), Kind> {
    match read(bytes) {
        Ok(parsed) => {
            let text = lcov::text(&parsed.coverage, "t");
            if !parsed.coverage.files.is_empty() {
                let again = lcov::parse(text.as_bytes());
                assert!(again.is_ok(), "{name}: {again:?} of {text}");
            }
            let xml = cobertura::text(&parsed.coverage, &Default::default());
            assert!(cobertura::parse(xml.as_bytes()).is_ok(), "{name}: {xml}");
            let _ = codecov::text(&parsed.coverage);
            Ok(())
        }
        Err(error) => {
            assert!(error.offset <= bytes.len() as u64, "{name}: {error}");
            assert_eq!(error.len, bytes.len() as u64, "{name}: {error}");
            assert!(
                !error.what.is_empty() && !error.what.contains('\n'),
                "{name}: {error}"
            );
            Err(error.kind)
        }
    }
}

fn sweep() {
    for (name, read, whole) in READERS {
        assert_eq!(survive(name, read, whole.as_bytes()), Ok(()), "{name}");
        let bytes = whole.as_bytes();
        let mut refused = 0;
        for cut in 0..bytes.len() {
            refused += usize::from(survive(name, read, &bytes[..cut]).is_err());
        }
        assert!(
            refused > bytes.len() / 4,
            "{name}: {refused} of {} cut off",
            bytes.len()
        );
        for at in 0..bytes.len() {
            for byte in [
                0, b'\n', b'"', b',', b'-', b'0', b'9', b'<', b'&', b':', 0x80, 0xff,
            ] {
                let mut damaged = bytes.to_vec();
                damaged[at] = byte;
                let _ = survive(name, read, &damaged);
            }
            let mut without = bytes.to_vec();
            without.remove(at);
            let _ = survive(name, read, &without);
        }
    }
}

/// Reads within the memory and time that may be taken.
fn within(name: &str, read: Read, bytes: &[u8]) -> Result<Parsed, ParseError> {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let begin = Instant::now();
    let outcome = read(bytes);
    let took = begin.elapsed();
    let peak = PEAK.load(Ordering::Relaxed) - before + bytes.len();
    let limit = (64 << 20) + 8 * bytes.len();
    assert!(
        peak <= limit,
        "{name}: {} MiB of {}",
        peak >> 20,
        limit >> 20
    );
    // Slow machines, and debug builds: the square of these sizes takes hours.
    assert!(took < Duration::from_secs(60), "{name}: {took:?}");
    outcome
}

fn repeated(begin: &str, end: &str, size: usize, part: impl Fn(usize) -> String) -> String {
    let mut text = begin.to_owned();
    let mut number = 1;
    while text.len() < size {
        text.push_str(&part(number));
        number += 1;
    }
    text + end
}

const SIZE: usize = 4 << 20;
const END: &str = "end_of_record\n";

fn large_tracefiles_are_read() {
    let many: [(&str, String, u64); 5] = [
        (
            "lines",
            repeated("SF:a\n", END, SIZE, |n| format!("DA:{n},1\n")),
            300_000,
        ),
        (
            "one line",
            repeated("SF:a\n", END, SIZE, |_| "DA:7,1\n".into()),
            1,
        ),
        (
            "files again",
            repeated("", "", SIZE, |n| format!("SF:a\nDA:{},1\n{END}", n % 9 + 1)),
            9,
        ),
        (
            "real",
            repeated("", "", SIZE, |n| {
                let mut file = format!("SF:/src/folder/of/some/length/file{n}.rs\n");
                for line in 1..40 {
                    let _ = writeln!(file, "FN:{line},_RNvNtCs1_1a4modulef{n}function{line}");
                }
                for line in 1..40 {
                    let _ = writeln!(file, "FNDA:1,_RNvNtCs1_1a4modulef{n}function{line}");
                }
                for line in 1..400 {
                    let _ = writeln!(file, "DA:{line},{}", line * n);
                }
                file + END
            }),
            200_000,
        ),
        (
            "expressions",
            repeated("SF:a\nDA:1,1\n", END, SIZE, |n| {
                format!("BRDA:1,0,a == {n} && b,1\n")
            }),
            1,
        ),
    ];
    for (name, text, lines) in many {
        let parsed = within(name, lcov::parse, text.as_bytes()).unwrap();
        let found = parsed.coverage.lines().total;
        assert!(found >= lines, "{name}: {found} lines");
        let begin = Instant::now();
        let text = lcov::text(&parsed.coverage, "");
        assert!(
            text.len() > 20 && begin.elapsed() < Duration::from_secs(60),
            "{name}"
        );
    }
}

fn what_takes_too_much_is_refused() {
    let outcome = |name, read: Read, text: String| match within(name, read, text.as_bytes()) {
        Ok(_) => None,
        Err(error) => Some(error.kind),
    };
    let files = repeated("", END, SIZE, |n| format!("SF:{n:x}\n"));
    assert_eq!(outcome("files", lcov::parse, files), Some(Kind::TooLarge));
    let functions = repeated("SF:a\n", END, SIZE, |n| format!("FN:1,{n:x}\n"));
    assert_eq!(
        outcome("functions", lcov::parse, functions),
        Some(Kind::TooLarge)
    );
    let collide = repeated("SF:a\n", END, SIZE, |_| "FN:1,f\nFNDA:1,f\n".into());
    outcome("functions of one name", lcov::parse, collide);
    let unknown = repeated("SF:a\n", END, SIZE, |n| format!("X{n}:1\n"));
    assert_eq!(outcome("unknown records", lcov::parse, unknown), None);

    let open = "<coverage><packages><package name=\"p\"><classes>";
    let close = "</classes></package></packages></coverage>";
    let line = "<class filename=\"a\"><lines><line number=\"1\" hits=\"1\" branch=\"true\" \
                condition-coverage=\"(0/4096)\"/></lines></class>";
    let wide = repeated(open, close, SIZE, |n| {
        line.replace("\"a\"", &format!("\"{n}\""))
    });
    assert_eq!(
        outcome("branches", cobertura::parse, wide),
        Some(Kind::TooLarge)
    );
    let again = repeated(open, close, SIZE, |_| line.into());
    assert_eq!(outcome("classes again", cobertura::parse, again), None);
    let lines = format!("{open}<class filename=\"a\"><lines>");
    let end = format!("</lines></class>{close}");
    let lines = repeated(&lines, &end, SIZE, |n| {
        format!("<line number=\"{n}\" hits=\"1\"/>")
    });
    assert_eq!(outcome("lines", cobertura::parse, lines), None);
    let deep = repeated("<coverage>", "", SIZE, |_| "<a>".into());
    assert_eq!(
        outcome("deep", cobertura::parse, deep),
        Some(Kind::TooLarge)
    );
    let entity = format!(
        "<!DOCTYPE c [<!ENTITY a \"{}\">]><coverage/>",
        "b".repeat(SIZE)
    );
    assert_eq!(outcome("entity", cobertura::parse, entity), None);
    let attributes = repeated("<coverage><packages><package ", "/>", SIZE, |n| {
        format!("a{n}='' ")
    });
    assert_eq!(
        outcome("attributes", cobertura::parse, attributes),
        Some(Kind::TooLarge)
    );

    let segments = repeated("", "", 100_000, |n| {
        format!("[{},1,1,true,true,false],", n * (1 << 20))
    });
    let json = EXPORT.replace("[[1,1,4,true", &format!("[{segments}[1,1,4,true"));
    assert_eq!(
        outcome("segments", llvm_json::parse, json),
        Some(Kind::TooLarge)
    );

    // As many sets as there are lines: in runs they stay as small as the text.
    let sets = repeated("", "[0,1]", SIZE, |n| {
        format!("[{n},4000000000],", n = n % 90_000_000)
    });
    let json = MODEL.replace("[[0,1]]", &format!("[{sets}]"));
    outcome("sets", model, json);
}

#[test]
fn nothing_costs_more_than_its_size_allows() {
    sweep();
    large_tracefiles_are_read();
    what_takes_too_much_is_refused();
}
