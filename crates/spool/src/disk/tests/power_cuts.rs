//! A thousand seeds of power cuts, kills and clean ends; and the proof that the suite can fail.

use super::model::Simulation;
use super::power::Faults;

const LIVES: usize = 4;
const STEPS: usize = 150;

fn violations(seeds: std::ops::Range<u64>, faults: Faults) -> Vec<String> {
    let run = |seed: u64| Simulation::new(seed, faults).run(LIVES, STEPS).err().map(|e| format!("seed {seed}: {e}"));
    seeds.filter_map(run).collect()
}

#[test]
fn no_power_cut_loses_or_revives_anything() {
    let threads: Vec<_> = (0..4)
        .map(|part| std::thread::spawn(move || violations(part * 250..(part + 1) * 250, Faults::default())))
        .collect();
    let found: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert!(found.is_empty(), "{} of 1000 seeds: {found:#?}", found.len());
}

#[test]
fn without_fdatasync_the_suite_fails() {
    let found = violations(0..60, Faults { no_sync: true, ..Faults::default() });
    assert!(found.len() > 20, "{found:#?}");
}

#[test]
fn without_syncing_the_folder_the_suite_fails() {
    let found = violations(0..60, Faults { no_dir_sync: true, ..Faults::default() });
    assert!(found.len() > 5, "{found:#?}");
}
