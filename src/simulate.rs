//! Acts as members.

/// What to simulate.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// How many members act.
    #[arg(long, default_value_t = 24)]
    pub members: usize,
}

/// Runs.
pub async fn run(_options: Options) -> anyhow::Result<()> {
    Ok(())
}
