//! Services that are not ours, under the stock auto-instrumentation of their languages, measured and judged by the
//! real program: the seeded N+1 and the missing index are found, the healthy endpoint stays silent.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{connect, free_port, postgres, program, run};

/// Attribute names as instrumentations emit them by default, and those of the stable conventions.
const NAMINGS: [&str; 2] = ["", "http,database"];
/// Values of a variable that names rows by a text.
const TEXTS: u32 = 40;

/// One service at a time: beside another, a healthy endpoint waits for the CPU.
static QUIET: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A service and what is true of it.
struct Service {
    /// Folder below `testdata/services`.
    folder: &'static str,
    n_plus_one: Operation,
    /// Calls of the seeded N+1 in each request.
    calls: f64,
    missing_index: Operation,
    table: &'static str,
    column: &'static str,
    healthy: Operation,
    /// The load's variables: a number up to `keys`, and a text from this query.
    keys: u32,
    texts: &'static str,
}

/// As the load and its goals name it, and the path of its requests.
struct Operation {
    name: &'static str,
    path: &'static str,
}

const FASTAPI: Service = Service {
    folder: "fastapi",
    n_plus_one: Operation { name: "GET /authors/{author_id}/books", path: "/authors/{{key}}/books" },
    calls: 15.0,
    missing_index: Operation { name: "GET /books/by-isbn/{isbn}", path: "/books/by-isbn/{{text}}" },
    table: "books",
    column: "isbn",
    healthy: Operation { name: "GET /authors/{author_id}", path: "/authors/{{key}}" },
    keys: 20_000,
    texts: "SELECT isbn FROM books WHERE id % 7001 = 1 ORDER BY id",
};

const EXPRESS: Service = Service {
    folder: "express",
    n_plus_one: Operation { name: "GET /users/:id/devices", path: "/users/{{key}}/devices" },
    calls: 15.0,
    missing_index: Operation { name: "GET /readings/by-token/:token", path: "/readings/by-token/{{text}}" },
    table: "readings",
    column: "token",
    healthy: Operation { name: "GET /users/:id", path: "/users/{{key}}" },
    keys: 2_000,
    texts: "SELECT token FROM readings WHERE id % 7001 = 1 ORDER BY id",
};

#[tokio::test(flavor = "multi_thread")]
async fn fastapi_with_sqlalchemy_is_diagnosed_in_both_namings() {
    let installed = install(&FASTAPI, &["requirements.txt"], |place| {
        tool("python3", "python3 with venv", &["-m", "venv", "venv"], place);
        let pip = ["-m", "pip", "install", "--quiet", "--requirement", "requirements.txt"];
        tool("venv/bin/python", "pip", &pip, place);
    });
    let programs = installed.join("venv/bin");
    let start = |port: u16| {
        let programs = programs.display();
        let port = port.to_string();
        let uvicorn = ["app:app", "--host", "127.0.0.1", "--port", &port, "--log-level", "warning"];
        let mut words = vec![format!("{programs}/opentelemetry-instrument"), format!("{programs}/uvicorn")];
        words.extend(uvicorn.map(str::to_owned));
        words.extend(["--app-dir".to_owned(), source(&FASTAPI).display().to_string()]);
        words
    };
    diagnosed(&FASTAPI, &start).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn express_with_pg_is_diagnosed_in_both_namings() {
    let installed = install(&EXPRESS, &["package.json", "package-lock.json"], |place| {
        tool("node", "Node.js", &["--version"], place);
        tool("npm", "npm", &["ci", "--no-audit", "--no-fund", "--ignore-scripts"], place);
    });
    for file in ["server.js", "tracing.js"] {
        std::fs::copy(source(&EXPRESS).join(file), installed.join(file)).unwrap();
    }
    let place = installed.display();
    let start = |_port: u16| {
        let words = ["node", "--require", &format!("{place}/tracing.js"), &format!("{place}/server.js")];
        words.map(str::to_owned).to_vec()
    };
    diagnosed(&EXPRESS, &start).await;
}

fn source(service: &Service) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/services").join(service.folder)
}

/// A folder with the service's packages, kept over runs as long as the lists of packages stay the same.
fn install(service: &Service, lists: &[&str], fetch: impl FnOnce(&Path)) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    for list in lists {
        std::fs::read(source(service).join(list)).unwrap().hash(&mut hasher);
    }
    let name = format!("{}-{:016x}", service.folder, hasher.finish());
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("services").join(name);
    let whole = place.join("whole");
    if !whole.exists() {
        std::fs::create_dir_all(&place).unwrap();
        for list in lists {
            std::fs::copy(source(service).join(list), place.join(list)).unwrap();
        }
        fetch(&place);
        std::fs::write(whole, "").unwrap();
    }
    place
}

/// Runs a tool to its end; without it, says how to get it.
#[expect(clippy::disallowed_methods, reason = "it ends before this returns")]
fn tool(program: &str, what: &str, arguments: &[&str], folder: &Path) {
    let program = if program.contains('/') { folder.join(program) } else { PathBuf::from(program) };
    let ran = Command::new(&program).args(arguments).current_dir(folder).stdin(Stdio::null()).output();
    let output = ran.unwrap_or_else(|error| {
        panic!("{what} cannot be run ({error}): `cargo xtask provision` installs what this test needs")
    });
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "`{} {}` failed, does this machine reach the package registry?\n{told}",
        program.display(),
        arguments.join(" ")
    );
}

/// Measures and judges the service in each naming, on one database.
async fn diagnosed(service: &Service, start: &dyn Fn(u16) -> Vec<String>) {
    let _quiet = QUIET.lock().await;
    let server = postgres("pg_stat_statements").await;
    let database = server.create_database("services").await.unwrap();
    let client = connect(&database).await;
    client.batch_execute("CREATE EXTENSION pg_stat_statements").await.unwrap();
    let seed = std::fs::read_to_string(source(service).join("../seed.sql")).unwrap();
    client.batch_execute(&seed).await.unwrap();
    let rows = client.query(service.texts, &[]).await.unwrap();
    let texts: Vec<String> = rows.iter().take(TEXTS as usize).map(|row| row.get(0)).collect();
    assert_eq!(texts.len(), TEXTS as usize, "{}", service.texts);
    for naming in NAMINGS {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let settings = settings(service, port, &database, &texts);
        std::fs::write(folder.path().join("trimtab.toml"), settings).unwrap();
        let measured = program(folder.path())
            .args(["measure", "-o", "recording", "--"])
            .args(start(port))
            .env("DATABASE_URL", client_url(service, &database))
            .env("PORT", port.to_string())
            .env("OTEL_SERVICE_NAME", "library")
            .env("OTEL_SEMCONV_STABILITY_OPT_IN", naming)
            .env("OTEL_BSP_SCHEDULE_DELAY", "200")
            .env("OTEL_METRICS_EXPORTER", "none")
            .env("OTEL_LOGS_EXPORTER", "none")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        let measured = support::Ran::from(measured);
        assert_eq!(measured.code, Some(1), "one goal cannot be met: {} {}", measured.out, measured.err);
        let judged = run(folder.path(), &["localize", "recording", "--format", "json"]);
        assert_eq!(judged.code, Some(1), "{judged:?}");
        let diagnosis: Value = serde_json::from_str(&judged.out).unwrap();
        check(service, &diagnosis, naming);
    }
}

/// SQLAlchemy is told its driver within the URL.
fn client_url(service: &Service, database: &str) -> String {
    match service.folder {
        "fastapi" => database.replacen("postgresql://", "postgresql+psycopg://", 1),
        _ => database.to_owned(),
    }
}

fn settings(service: &Service, port: u16, database: &str, texts: &[String]) -> String {
    let Service { n_plus_one, missing_index, healthy, keys, .. } = service;
    let mut text = format!(
        r#"goals = ["p95({}) < 0.1 ms", "p95({}) < 10 s", "errors(*) < 1 %"]
[service]
url = "http://127.0.0.1:{port}"
[telemetry]
listen = "127.0.0.1:0"
listen_grpc = ""
[database]
url = "{database}"
may_build = true
[load]
rate = 8
arrivals = "constant"
warm_up_s = 2
duration_s = 6
[load.variables]
key = {{ kind = "integer", from = 1, to = {keys} }}
text = {{ kind = "list", values = {texts:?} }}
"#,
        n_plus_one.name, healthy.name
    );
    for operation in [n_plus_one, missing_index, healthy] {
        write!(text, "[[load.operation]]\nname = \"{}\"\npath = \"{}\"\n", operation.name, operation.path)
            .unwrap();
    }
    text
}

/// What must be true of the service's diagnosis.
fn check(service: &Service, diagnosis: &Value, naming: &str) {
    let shown = || format!("naming `{naming}`: {}", in_short(diagnosis));
    let findings = diagnosis["findings"].as_array().unwrap();
    let find = |rule: &str, endpoint: &str| {
        let found = findings.iter().find(|f| f["rule"] == rule && f["endpoint"] == endpoint);
        found.unwrap_or_else(|| panic!("no {rule} on {endpoint}; {}", shown()))
    };
    let n_plus_one = find("n_plus_one", service.n_plus_one.name);
    let calls = n_plus_one["calls_per_request"].as_f64().unwrap();
    assert!((calls - service.calls).abs() <= 1.0, "{calls} calls; {}", shown());
    let missing_index = find("missing_index", service.missing_index.name);
    let remedies = missing_index["remedies"].as_array().unwrap();
    let sql = remedies.iter().find_map(|r| r["patch"].as_str()).unwrap_or_else(|| panic!("{}", shown()));
    for word in ["CREATE INDEX", service.table, service.column] {
        assert!(sql.contains(word), "no {word} in {sql}");
    }
    let healthy = findings.iter().filter(|f| f["endpoint"] == service.healthy.name);
    let loud: Vec<&Value> = healthy.filter(|f| f["severity"] != "info").collect();
    assert!(loud.is_empty(), "on the healthy endpoint, naming `{naming}`: {loud:#?}");
    check_figures(service, diagnosis, naming);
}

/// What was found where, and what was not seen: few lines, as a log may be cut.
fn in_short(diagnosis: &Value) -> String {
    let mut text = String::new();
    for finding in diagnosis["findings"].as_array().unwrap() {
        let word = |name: &str| finding[name].as_str().unwrap_or("?").to_owned();
        let (severity, rule, endpoint) = (word("severity"), word("rule"), word("endpoint"));
        writeln!(text, "{severity} {rule} on {endpoint}: {}", word("title")).unwrap();
        writeln!(text, "  {}", finding["evidence"]["lines"]).unwrap();
    }
    for part in ["endpoints", "validity", "gaps"] {
        writeln!(text, "{part}: {}", diagnosis["recording"][part]).unwrap();
    }
    writeln!(text, "gaps: {}\nnot run: {}", diagnosis["gaps"], diagnosis["rules_not_run"]).unwrap();
    text
}

/// Requests and traces are joined under the operations' names, and every goal has its figure.
fn check_figures(service: &Service, diagnosis: &Value, naming: &str) {
    let endpoints = diagnosis["recording"]["endpoints"].as_array().unwrap();
    let names: Vec<&str> = endpoints.iter().filter_map(|e| e["endpoint"].as_str()).collect();
    let mut expected =
        [&service.n_plus_one, &service.missing_index, &service.healthy].map(|operation| operation.name);
    expected.sort_unstable();
    assert_eq!(names, expected, "naming `{naming}`");
    for endpoint in endpoints {
        let figure = |name: &str| endpoint[name].as_f64().unwrap_or(-1.0);
        assert!(figure("traces") >= figure("requests") * 0.9 && figure("traces") > 0.0, "{endpoint:#}");
        assert!(figure("error_share") < 0.01, "{endpoint:#}");
    }
    let met: Vec<Option<bool>> =
        diagnosis["goals"].as_array().unwrap().iter().map(|g| g["met"].as_bool()).collect();
    assert_eq!(met, [Some(false), Some(true), Some(true)], "naming `{naming}`: {:#}", diagnosis["goals"]);
}
