//! The engine as a whole: the contract of all engines, and what is this one's own.

use std::sync::Arc;

use sluice_mail::ManualClock;

use super::*;
use crate::contract::{self, Caps, Rig};

mod damage;
mod full;
mod model;
mod power;
mod power_cuts;
mod threads;
mod tidying;

mod on_files {
    use super::*;

    /// The real file system, and an orderly end at every restart.
    struct OnFiles {
        dir: tempfile::TempDir,
        clock: Arc<ManualClock>,
    }

    impl OnFiles {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), clock: contract::clock() }
        }

        fn open(&self, caps: Caps) -> Disk {
            let config = Config {
                segment_bytes: 2 << 20,
                max_message_bytes: 3 << 19,
                max_envelopes: caps.max_envelopes as u64,
                max_bytes: caps.max_bytes,
                ..Config::new(self.dir.path().join("spool"))
            };
            super::open(config, Arc::new(SystemFiles), self.clock.clone()).unwrap()
        }
    }

    impl Rig for OnFiles {
        type Engine = Disk;

        async fn open(&self, caps: Caps) -> Disk {
            self.open(caps)
        }

        async fn restart(&self, engine: Disk, caps: Caps) -> Disk {
            engine.close();
            drop(engine);
            self.open(caps)
        }

        fn clock(&self) -> &ManualClock {
            &self.clock
        }

        fn moved_clock(&self, engine: &Disk) {
            engine.clock_moved();
        }
    }

    contract::contract_tests!(OnFiles::new());
}

mod under_power_cuts {
    use super::power::{Faults, PowerFiles};
    use super::*;

    /// Every restart is a power cut: what is asserted across it was acknowledged before.
    struct UnderPowerCuts {
        files: PowerFiles,
        clock: Arc<ManualClock>,
    }

    impl UnderPowerCuts {
        fn new() -> Self {
            Self { files: PowerFiles::new(1, Faults::default()), clock: contract::clock() }
        }

        fn open(&self, caps: Caps) -> Disk {
            let config = Config {
                segment_bytes: 2 << 20,
                max_message_bytes: 3 << 19,
                max_envelopes: caps.max_envelopes as u64,
                max_bytes: caps.max_bytes,
                cached_bytes: 3_000,
                ..Config::new("/spool".into())
            };
            super::open(config, Arc::new(self.files.clone()), self.clock.clone()).unwrap()
        }
    }

    impl Rig for UnderPowerCuts {
        type Engine = Disk;

        async fn open(&self, caps: Caps) -> Disk {
            self.open(caps)
        }

        async fn restart(&self, engine: Disk, caps: Caps) -> Disk {
            self.files.set_fuse(Some(1));
            engine.close();
            drop(engine);
            self.files.power_cycle();
            self.open(caps)
        }

        fn clock(&self) -> &ManualClock {
            &self.clock
        }

        fn moved_clock(&self, engine: &Disk) {
            engine.clock_moved();
        }
    }

    contract::contract_tests!(UnderPowerCuts::new());
}
