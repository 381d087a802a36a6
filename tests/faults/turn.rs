//! The one fleet that these tests share, one after the other.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Result;

use crate::environment::straight;
use crate::fleet::{EDGE_1, EDGE_2, Fleet, Part, resident};

/// The fleet, whole, for one test at a time. Its processes die with the last test: the kernel sees to that.
pub(crate) fn fleet() -> MutexGuard<'static, Fleet> {
    static FLEET: OnceLock<Mutex<Fleet>> = OnceLock::new();
    let fleet = FLEET.get_or_init(|| Mutex::new(start().expect("the environment starts")));
    // A test that failed left it broken at most; it is mended here.
    let mut fleet = fleet.lock().unwrap_or_else(PoisonError::into_inner);
    fleet.environment.mend().expect("the environment can be mended");
    fleet
}

/// The optimised build that is judged instead of the one that cargo made for this test: figures are worth more on it.
pub(crate) fn optimised() -> Option<PathBuf> {
    std::env::var_os("ROADSTEAD_FAULTS_OPTIMISED").map(PathBuf::from)
}

fn start() -> Result<Fleet> {
    let program = optimised().unwrap_or_else(|| env!("CARGO_BIN_EXE_roadstead").into());
    let mut fleet = Fleet::start(&program, 2, true, &mut straight)?;
    std::thread::sleep(Duration::from_secs(2));
    for (slot, part) in [Part::Hub, EDGE_1, EDGE_2].into_iter().enumerate() {
        fleet.at_rest[slot] = resident(fleet.environment.pid(part))?;
    }
    Ok(fleet)
}
