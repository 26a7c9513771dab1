//! The launcher is to its surroundings what the component would be.

mod common;

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use std::time::Duration;

use common::{Pod, Talking, json, launcher, signal, text};

#[test]
fn it_is_static_and_small() {
    let bytes = std::fs::read(launcher()).unwrap();
    assert!(bytes.len() < 200_000, "{} bytes", bytes.len());
    let program = podcov_profile::elf::read(&bytes).unwrap();
    assert!(program.is_static(), "{program:?}");
}

#[test]
fn the_status_is_the_component_s() {
    for code in [0, 1, 2, 77, 126, 255] {
        let pod = Pod::new();
        let output = pod.sh(&format!("echo out; echo err >&2; exit {code}"));
        assert_eq!(output.status.code(), Some(code));
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            ("out\n".into(), "err\n".into())
        );
        let exit = json(&pod.start().join("exit.json"));
        assert_eq!((&exit["schema"], &exit["code"]), (&1.into(), &code.into()));
        assert!(exit["signal"].is_null());
        assert!(exit["start"].as_str() <= exit["end"].as_str());
    }
}

#[test]
fn an_end_by_a_signal_is_an_end_by_the_same_signal() {
    for (name, number) in [
        ("TERM", 15),
        ("KILL", 9),
        ("SEGV", 11),
        ("ABRT", 6),
        ("INT", 2),
    ] {
        let pod = Pod::new();
        let output = pod.sh(&format!("kill -{name} $$"));
        assert_eq!(output.status.signal(), Some(number), "{name}");
        let exit = json(&pod.start().join("exit.json"));
        assert!(exit["code"].is_null());
        assert_eq!(exit["signal"], number);
    }
}

#[test]
fn signals_reach_the_component_and_nothing_else_happens() {
    let pod = Pod::new();
    let names = [
        "HUP", "INT", "QUIT", "USR1", "USR2", "WINCH", "CONT", "ALRM", "URG", "TERM",
    ];
    let traps: String = names
        .iter()
        .map(|name| format!("trap 'echo {name}' {name}; "))
        .collect();
    let mut command = pod.launcher();
    let script = format!("{traps} echo ready; while :; do sleep 0.02; done");
    command.args(["--", "sh", "-c", &script]);
    let mut component = Talking::start(command);
    assert_eq!(component.line(), "ready");
    for name in names {
        component.signal(name);
        assert_eq!(component.line(), name);
    }
    component.signal("ABRT");
    assert_eq!(component.child.wait().unwrap().signal(), Some(6));
    assert_eq!(json(&pod.start().join("exit.json"))["signal"], 6);
}

#[test]
fn a_signal_to_the_whole_group_reaches_the_component_once() {
    // Two SIGTERMs make many operators give up their clean shutdown.
    let pod = Pod::new();
    let mut command = pod.launcher();
    let script = "trap 'echo TERM' TERM; trap 'echo end; exit 3' USR1; echo ready; \
                  while :; do sleep 0.02; done";
    command.args(["--", "sh", "-c", script]).process_group(0);
    let mut component = Talking::start(command);
    assert_eq!(component.line(), "ready");
    signal("TERM", &format!("-{}", component.child.id()));
    assert_eq!(component.line(), "TERM");
    std::thread::sleep(Duration::from_millis(200));
    component.signal("USR1");
    assert_eq!(component.line(), "end", "a second TERM came before");
    assert_eq!(component.child.wait().unwrap().code(), Some(3));
}

#[test]
fn on_a_terminal_the_component_reads_and_gets_ctrl_c_once() {
    use std::io::Write;
    let pod = Pod::new();
    let mut command = pod.command("script");
    let component = "trap \"echo INT\" INT; trap \"exit 5\" TERM; read x; echo got $x; \
                     while :; do sleep 0.02; done";
    let line = format!("\"$LAUNCHER\" -- sh -c '{component}'");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.stdin(std::process::Stdio::piped());
    let mut terminal = Talking::start(command);
    let mut keys = terminal.child.stdin.take().unwrap();
    keys.write_all(b"hello\n").unwrap();
    terminal.wait_for("got hello");
    keys.write_all(&[3]).unwrap();
    terminal.wait_for("INT");
    let pid = json(&pod.start().join("start.json"))["pid"].to_string();
    std::thread::sleep(Duration::from_millis(200));
    signal("TERM", &pid);
    // `INT` a second time would be a line before the end.
    assert_eq!(terminal.rest(), Vec::<String>::new());
    assert_eq!(terminal.child.wait().unwrap().code(), Some(5));
}

#[test]
fn a_killed_launcher_leaves_no_component_behind() {
    let pod = Pod::new();
    let mut command = pod.launcher();
    command.args(["--", "sh", "-c", "echo $$; exec sleep 600"]);
    let mut component = Talking::start(command);
    let pid = component.line();
    component.signal("KILL");
    assert_eq!(component.child.wait().unwrap().signal(), Some(9));
    let proc = std::path::Path::new("/proc").join(&pid);
    for _ in 0..200 {
        let state = std::fs::read_to_string(proc.join("stat")).unwrap_or_default();
        if state.is_empty() || state.contains(") Z ") {
            assert!(!pod.start().join("exit.json").exists());
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the component {pid} is still there");
}

/// The launcher as process 1 of a process namespace.
fn as_process_1(pod: &Pod, script: &str) -> Command {
    let mut command = pod.command("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
        .arg(pod.path("launcher"))
        .args(["--", "sh", "-c", script]);
    command
}

#[test]
fn process_1_reaps_what_the_component_leaves() {
    let pod = Pod::new();
    // Five orphans end at once; each would stay as a zombie if nobody reaped.
    let script = "for i in 1 2 3 4 5; do (sleep 0.05 & ); done; sleep 0.4; \
                  for stat in /proc/[0-9]*/stat; do cat $stat; done | grep -c ') Z '; \
                  grep -c . /proc/1/status > /dev/null && tr '\\0' ' ' < /proc/1/cmdline";
    let output = as_process_1(&pod, script)
        .output()
        .expect("apt-get install util-linux");
    let said = text(&output.stdout);
    assert!(
        said.starts_with("0\n"),
        "zombies: {said}{}",
        text(&output.stderr)
    );
    assert!(
        said.contains("/launcher -- sh"),
        "process 1 is not the launcher: {said}"
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn process_1_gives_the_status_of_a_shell_for_a_signal_and_forwards() {
    let pod = Pod::new();
    let output = as_process_1(&pod, "kill -KILL $$").output().unwrap();
    assert_eq!(output.status.code(), Some(128 + 9));
    assert_eq!(json(&pod.start().join("exit.json"))["signal"], 9);

    // The kernel drops a signal to process 1 that it does not handle. One is
    // sent in its own namespace, where that rule holds.
    let pod = Pod::new();
    let script = "trap 'echo got; exit 4' TERM; kill -TERM 1; while :; do sleep 0.02; done";
    let output = as_process_1(&pod, script).output().unwrap();
    assert_eq!(
        (text(&output.stdout), output.status.code()),
        ("got\n".into(), Some(4))
    );
}

#[test]
fn what_cannot_be_started_is_said_and_recorded() {
    use std::os::unix::fs::PermissionsExt;
    let pod = Pod::new();
    let plain = pod.path("plain");
    std::fs::write(&plain, "echo not a script\n").unwrap();
    let closed = pod.path("closed");
    std::fs::write(&closed, "#!/bin/sh\n").unwrap();
    let lost = pod.path("lost");
    std::fs::write(&lost, "#!/nonexistent/interpreter\n").unwrap();
    for (path, mode) in [(&plain, 0o755), (&closed, 0o644), (&lost, 0o755)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    for (program, code, what) in [
        ("/nonexistent/x", 127, "no such file"),
        ("nonexistent-x", 127, "no such program in PATH"),
        (lost.to_str().unwrap(), 127, "interpreter"),
        (
            plain.to_str().unwrap(),
            126,
            "neither a program nor a script",
        ),
        (closed.to_str().unwrap(), 126, "Permission denied"),
    ] {
        let pod = Pod::new();
        let output = pod.launcher().args(["--", program]).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(
            said.starts_with("podcov-launcher: cannot start") && said.contains(what),
            "{said}"
        );
        assert_eq!(pod.message(), said);
        assert_eq!(json(&pod.start().join("exit.json"))["code"], code);
    }
}
