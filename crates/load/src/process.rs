//! What a process costs, as Linux counts it; and how many sockets ours may open.

use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Processor time that all threads of a process have used; the kernel counts it in hundredths of a second.
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
        .with_context(|| format!("nothing can be read of process {pid}; --pid takes a process of this Linux machine"))
}

/// Lets this process, and those it starts from now on, open so many files, as far as it may.
///
/// # Errors
/// It may not open so many.
pub fn allow_files(count: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= count) {
        return Ok(());
    }
    // Root may raise the hard limit too.
    let maximum = limit.maximum.map(|maximum| maximum.max(count));
    let wanted = Rlimit {
        current: Some(count),
        maximum,
    };
    setrlimit(Resource::Nofile, wanted)
        .with_context(|| format!("this process may not open {count} files; raise the limit with ulimit -n"))
}
