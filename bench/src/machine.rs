//! The machine in one line, without a date, so that a table that did not change stays the same file.

/// `2 CPUs, AMD EPYC 7B13, 7.8 GiB, Linux 6.1.0`.
pub(crate) fn line() -> String {
    let environment = telemetry::host::environment();
    let gib = environment.memory_bytes as f64 / f64::from(1 << 30);
    let build = if cfg!(debug_assertions) { "debug build" } else { "release build" };
    format!(
        "Machine: {} CPUs, {}, {gib:.1} GiB, {}, {build}.",
        environment.cpus, environment.cpu_model, environment.os
    )
}
