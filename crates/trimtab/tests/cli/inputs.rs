//! What is typed and what is read: settings, trace files, recordings.

use crate::service::{NO_TRACES, settings, write};
use crate::support::run;
use std::path::{Path, PathBuf};

const GOAL: &str = "\"p95(GET /items) < 250 ms\"";

fn traces(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/traces").join(name)
}

/// Names of what lies in a folder.
fn entries(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn bad_settings_are_named_with_file_line_and_field_and_change_nothing() {
    let good = settings(1, GOAL, NO_TRACES);
    for (from, to, parts) in [
        ("rate = 20", "rte = 20", &["trimtab.toml", "line 5", "rte"][..]),
        ("[service]", "[servise]", &["trimtab.toml", "line 2", "servise"]),
        ("< 250 ms", "< 250 parsec", &["trimtab.toml:1", "goals", "250 parsec"]),
        ("p95(", "p(", &["trimtab.toml:1", "goals"]),
        ("rate = 20", "rate = 0", &["trimtab.toml", "load.rate", "0"]),
        ("rate = 20", "rate = \"fast\"", &["trimtab.toml", "line 5", "fast"]),
        ("\"/items\"", "\"items\"", &["trimtab.toml", "operations[0]", "path"]),
        ("http://", "gopher://", &["trimtab.toml", "base_url", "gopher"]),
        ("duration_s = 2", "duration_s = -2", &["trimtab.toml", "load.duration_s", "-2"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &good.replacen(from, to, 1));
        for command in [&["measure"][..], &["loop", "--yes"], &["verify"], &["load", "run", "trimtab.toml"]] {
            let ran = run(folder.path(), command);
            assert_eq!(ran.code, Some(2), "{to}, {command:?}: {ran:?}");
            for part in parts {
                assert!(ran.err.contains(part), "{to}, {command:?} does not name {part}: {}", ran.err);
            }
            assert_eq!(entries(folder.path()), ["trimtab.toml"], "{to}, {command:?}");
        }
    }
}

#[test]
fn without_settings_or_a_recording_the_way_to_them_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for (command, hint) in [
        (&["measure"][..], "trimtab init"),
        (&["loop"], "trimtab init"),
        (&["verify"], "trimtab init"),
        (&["change"], "trimtab "),
        (&["localize"], "trimtab measure"),
        (&["report"], "trimtab measure"),
        (&["change", "--undo"], "trimtab init"),
        (&["load", "run", "absent.toml"], "absent.toml"),
    ] {
        let ran = run(folder.path(), command);
        assert_eq!(ran.code, Some(2), "{command:?}: {ran:?}");
        assert!(ran.err.contains(hint), "{command:?}: {}", ran.err);
    }
    assert!(entries(folder.path()).is_empty());
}

#[test]
fn files_that_hold_no_traces_are_errors_with_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(traces("online-boutique/healthy.jsonl.gz")).unwrap();
    for (name, content) in [
        ("empty.jsonl", &b""[..]),
        ("prose.jsonl", b"once upon a time\n"),
        ("other.json", b"{\"hello\": \"world\"}"),
        ("binary.jsonl", &[0xff, 0x00, 0xfe, 0x80, 0x0a]),
        ("cut-at-its-head.jsonl.gz", &whole[..12]),
        ("no-gzip.jsonl.gz", b"once upon a time\n"),
    ] {
        std::fs::write(folder.path().join(name), content).unwrap();
        let ran = run(folder.path(), &["localize", name]);
        assert_eq!(ran.code, Some(2), "{name}: {ran:?}");
        assert!(ran.err.contains(name), "{name}: {}", ran.err);
        assert!(ran.out.is_empty(), "{name}: {}", ran.out);
    }
    let ran = run(folder.path(), &["localize", "absent.jsonl"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("absent.jsonl"), "{}", ran.err);
}

/// A line as the OpenTelemetry Collector's file exporter writes it.
const OTLP_LINE: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"api"}}]},"scopeSpans":[{"spans":[{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","name":"GET /items","kind":2,"startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000100000000"}]}]}]}"#;

#[test]
fn a_last_line_that_was_cut_costs_that_line_and_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{OTLP_LINE}\n{}", &OTLP_LINE[..OTLP_LINE.len() / 2]);
    std::fs::write(folder.path().join("cut.jsonl"), text).unwrap();
    let ran = run(folder.path(), &["localize", "cut.jsonl", "--format", "json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let diagnosis: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(diagnosis["recording"]["spans"], 1);
    let gaps = diagnosis["gaps"].to_string();
    assert!(gaps.contains("cut.jsonl"), "{gaps}");
}

#[test]
fn folders_that_are_no_recordings_are_told_from_newer_ones() {
    let folder = tempfile::tempdir().unwrap();
    let made = |name: &str, run_json: Option<&str>| {
        let place = folder.path().join(name);
        std::fs::create_dir(&place).unwrap();
        if let Some(text) = run_json {
            std::fs::write(place.join("run.json"), text).unwrap();
        }
    };
    made("bare", None);
    made("newer", Some(r#"{"format": 999, "what": "is this"}"#));
    made("torn", Some(r#"{"format": 1, "id": "2026"#));
    for (name, part) in [("bare", "no recording"), ("newer", "use a newer trimtab"), ("torn", "run.json")] {
        for command in [&["localize", name][..], &["report", name], &["verify", name, name]] {
            let ran = run(folder.path(), command);
            assert_eq!(ran.code, Some(2), "{command:?}: {ran:?}");
            assert!(ran.err.contains(part) && ran.err.contains(name), "{command:?}: {}", ran.err);
        }
    }
    assert_eq!(entries(folder.path()), ["bare", "newer", "torn"]);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let file = traces("online-boutique/healthy.jsonl.gz").display().to_string();
    for format in ["json", "text"] {
        let first = run(folder.path(), &["localize", &file, "--format", format]);
        assert_eq!(first.code, Some(0), "{}", first.err);
        assert!(first.out.len() > 100);
        assert_eq!(first.out, run(folder.path(), &["localize", &file, "--format", format]).out, "{format}");
    }
}

#[test]
fn exit_codes_tell_yes_no_and_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let file = traces("online-boutique/healthy.jsonl.gz").display().to_string();
    for (goal, code) in [("p95(*) < 3600 s", 0), ("p95(*) < 0.001 ms", 1), ("p95(*)", 2)] {
        let ran = run(folder.path(), &["localize", &file, "--goal", goal]);
        assert_eq!(ran.code, Some(code), "{goal}: {}", ran.err);
    }
    for (arguments, code) in [(&["--version"][..], 0), (&["--help"], 0), (&["meassure"], 2), (&[], 2)] {
        assert_eq!(run(folder.path(), arguments).code, Some(code), "{arguments:?}");
    }
}

#[test]
fn the_help_of_every_command_shows_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let help = run(folder.path(), &["--help"]).out;
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = listed
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.contains(&"demo") && commands.contains(&"localize"), "{help}");
    for command in commands {
        let help = run(folder.path(), &[command, "--help"]).out;
        let example = help.lines().any(|line| line.trim_start().starts_with(&format!("trimtab {command}")));
        assert!(help.contains("Example") && example, "{help}");
    }
}
