//! What processes cost, from `/proc`.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The clock ticks of `/proc/PID/stat`; Linux shows 100 a second to user space on every common architecture.
const TICKS_PER_SECOND: f64 = 100.0;

struct Stat {
    parent: u32,
    /// User and system time.
    own: u64,
    /// The same of children that have ended.
    ended_children: u64,
}

fn stat(pid: u32) -> Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = text.rsplit_once(')').context("no name")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Ok(Stat { parent: field(4) as u32, own: field(14) + field(15), ended_children: field(16) + field(17) })
}

/// `root` and all below it.
fn tree(root: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Ok(stat) = stat(pid) {
            parents.push((pid, stat.parent));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    Ok(found)
}

/// Seconds of processor time that `root`, its descendants and their ended children have used.
pub fn cpu_seconds(root: u32) -> Result<f64> {
    let ticks = tree(root)?.into_iter().filter_map(|pid| stat(pid).ok()).map(|stat| stat.own + stat.ended_children);
    Ok(ticks.sum::<u64>() as f64 / TICKS_PER_SECOND)
}

fn status_kib(pid: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
}

/// The most memory that `pid` ever had resident, in octets.
#[must_use]
pub fn peak_resident(pid: u32) -> u64 {
    status_kib(pid, "VmHWM").unwrap_or(0) * 1024
}

/// What `pid` has resident now, in octets.
#[must_use]
pub fn resident(pid: u32) -> u64 {
    status_kib(pid, "VmRSS").unwrap_or(0) * 1024
}

/// The proportional share of memory of a process, so that shared pages count once over a family of processes.
fn proportional(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Looks a few times a second at the memory of a family of processes and keeps the most.
pub struct FamilyWatch {
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    watcher: Option<JoinHandle<()>>,
}

impl FamilyWatch {
    /// Watches `root` and all below it.
    #[must_use]
    pub fn start(root: u32) -> Self {
        let (stop, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let watcher = std::thread::spawn({
            let (stop, peak) = (Arc::clone(&stop), Arc::clone(&peak));
            move || {
                while !stop.load(Ordering::Acquire) {
                    let total = tree(root).unwrap_or_default().into_iter().map(proportional).sum();
                    peak.fetch_max(total, Ordering::AcqRel);
                    std::thread::sleep(Duration::from_millis(300));
                }
            }
        });
        Self { stop, peak, watcher: Some(watcher) }
    }

    /// The most, in octets.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Acquire)
    }
}

impl Drop for FamilyWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}
