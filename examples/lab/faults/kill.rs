//! Parts that are killed, or stand still for a while (SIGSTOP, then SIGCONT), under load.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::load::Load;
use super::parts::cluster::signal;
use super::parts::fleet::{EDGE_1, Part};
use super::rows::Outcome;
use super::world::World;

/// Requests a second while parts are broken.
const RATE: u64 = 200;
/// How long a part stands still.
const STILL: Duration = Duration::from_secs(3);
/// Answers must be right again so long after the part is back.
const BACK_WITHIN: Duration = Duration::from_secs(20);

pub(super) fn hub(world: &mut World) -> Result<Outcome> {
    under_load(world, |world| {
        world.fleet.environment.start_again(Part::Hub)?;
        world.fleet.environment.wait_listening()
    })
}

pub(super) fn agent(world: &mut World) -> Result<Outcome> {
    under_load(world, |world| world.fleet.environment.start_again(EDGE_1))
}

pub(super) fn api_server(world: &mut World) -> Result<Outcome> {
    under_load(world, |world| world.fleet.environment.plane(0)?.restart_apiserver())
}

pub(super) fn stop_hub(world: &mut World) -> Result<Outcome> {
    let pid = world.fleet.environment.pid(Part::Hub);
    under_load(world, |_| stand_still(pid))
}

pub(super) fn stop_agent(world: &mut World) -> Result<Outcome> {
    let pid = world.fleet.environment.pid(EDGE_1);
    under_load(world, |_| stand_still(pid))
}

pub(super) fn stop_api_server(world: &mut World) -> Result<Outcome> {
    let pid = world.fleet.environment.plane(0)?.apiserver_pid().context("no API server runs")?;
    under_load(world, |_| stand_still(pid))
}

fn stand_still(pid: u32) -> Result<()> {
    signal(pid, "STOP")?;
    std::thread::sleep(STILL);
    signal(pid, "CONT")
}

/// Load, then the fault, then until answers are right again.
fn under_load(world: &mut World, fault: impl FnOnce(&mut World) -> Result<()>) -> Result<Outcome> {
    let load = Load::start(world, RATE)?;
    let broken = Instant::now();
    fault(world)?;
    let back = load.wait_right(RATE, BACK_WITHIN)?;
    let whole = broken.elapsed();
    let judged = load.judge(world)?;
    let text = format!(
        "{:.1} s from fault to a second's worth of right answers, {:.1} s after the part was back; {}",
        whole.as_secs_f32(),
        back.as_secs_f32(),
        judged.text()
    );
    Ok(Outcome::of(judged.safe(), text))
}
