//! Two sides of a comparison, measured in turn.

use std::time::{Duration, Instant};

/// What one comparison gave.
#[derive(Clone, Debug)]
pub struct Pair {
    /// What was compared.
    pub name: &'static str,
    /// Median of our side, per operation.
    pub ours: Duration,
    /// Median of the host's side, per operation.
    pub host: Duration,
    /// The ratio that we promise to stay at or below, if there is one.
    pub limit: Option<f64>,
}

impl Pair {
    /// Ours over the host's.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.ours.as_secs_f64() / self.host.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

impl std::fmt::Display for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (ours, host, ratio) = (self.ours, self.host, self.ratio());
        write!(
            f,
            "{:<34} {ours:>12.1?} {host:>12.1?} {ratio:>8.3}",
            self.name
        )?;
        match self.limit {
            Some(limit) if ratio <= limit => write!(f, "   <= {limit}"),
            Some(limit) => write!(f, "   ABOVE {limit}"),
            None => Ok(()),
        }
    }
}

/// The time that `run` takes.
pub fn timed<T>(run: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    std::hint::black_box(run());
    start.elapsed()
}

/// Runs both sides in turn, `rounds` times after one round that is not counted, and takes the
/// medians. Each side reports the time of one operation.
pub fn compare(
    name: &'static str,
    rounds: usize,
    mut ours: impl FnMut() -> Duration,
    mut host: impl FnMut() -> Duration,
) -> Pair {
    ours();
    host();
    let mut times = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for _ in 0..rounds {
        times.0.push(ours());
        times.1.push(host());
    }
    Pair {
        name,
        ours: median(times.0),
        host: median(times.1),
        limit: None,
    }
}

/// The middle of `times`; zero where there are none.
#[must_use]
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
