//! CPU time and memory of a process, as Linux accounts for them, and this process's limit of open files.

use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// CPU time that all threads of a process have used. The kernel counts it in hundredths of a second.
///
/// # Errors
/// There is no such process, or this is not Linux.
pub fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = read(pid, "stat")?;
    let (_, fields) = stat.rsplit_once(')').context("stat")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || {
        fields
            .next()
            .and_then(|field| field.parse::<u64>().ok())
            .context("stat")
    };
    Ok(Duration::from_millis((ticks()? + ticks()?) * 10))
}

/// Resident memory of a process in bytes.
///
/// # Errors
/// There is no such process, or this is not Linux.
pub fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = read(pid, "status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1024)
}

fn read(pid: u32, file: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/{file}"))
        .with_context(|| format!("cannot read process {pid}; --pid takes a process on this Linux machine"))
}

/// Raises the limit of open files to `count`, for this process and those that it starts from now on.
///
/// # Errors
/// The process may not raise its limit that far.
pub fn allow_files(count: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= count) {
        return Ok(());
    }
    // Root may raise the hard limit as well.
    let maximum = limit.maximum.map(|maximum| maximum.max(count));
    let wanted = Rlimit {
        current: Some(count),
        maximum,
    };
    setrlimit(Resource::Nofile, wanted)
        .with_context(|| format!("this process may not open {count} files; raise the limit with ulimit -n"))
}
