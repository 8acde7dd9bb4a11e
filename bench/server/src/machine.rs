//! The machine: what it is, and what else it does.

use std::fs;
use std::thread;

/// What a figure was made on, in words.
pub(crate) fn here() -> String {
    let line = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.trim_matches([':', ' ', '\t']).to_owned()
    };
    let memory = line("/proc/meminfo", "MemTotal");
    let kib = memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{cores} cores ({}), {} GiB, Linux {}",
        line("/proc/cpuinfo", "model name"),
        kib.div_ceil(1 << 20),
        kernel.trim()
    )
}

/// What the processors did so far. Figures of a machine that does other work are figures of that
/// work too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    idle: u64,
    total: u64,
    own: u64,
}

impl Load {
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = first.split(' ').filter_map(|word| word.parse().ok()).collect();
        // The fourth and fifth are time without work, the ninth and tenth are counted elsewhere.
        let idle = ticks.iter().skip(3).take(2).sum();
        let total = ticks.iter().take(8).sum();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split(' ');
        // Of this process and of its children that ended: as user, and as system.
        let own = fields.skip(12).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
        Self { idle, total, own }
    }

    /// The share of the processors' time since then that others had, in percent, once all servers
    /// have ended.
    pub(crate) fn others_since(self) -> f64 {
        let now = Self::now();
        let total = now.total.saturating_sub(self.total);
        let idle = now.idle.saturating_sub(self.idle);
        let own = now.own.saturating_sub(self.own);
        100.0 * total.saturating_sub(idle + own) as f64 / total.max(1) as f64
    }
}
