//! A bad network between two addresses on this machine: a relay for UDP and TCP that loses, delays, reorders, repeats, slows, swallows.
//!
//! It stands in user space, so it needs no rights and no module of the kernel, and can be changed while traffic runs. Datagrams get
//! everything; TCP gets delay, rate and black holes only (what is lost there the kernel sends again, out of our sight).

#[path = "../../tests/faults/noise.rs"]
pub(crate) mod noise;
#[path = "network/pipe.rs"]
pub(crate) mod pipe;
#[path = "network/relay.rs"]
pub(crate) mod relay;
#[path = "network/rules.rs"]
pub(crate) mod rules;
#[path = "network/stream.rs"]
mod stream;

#[path = "network/limit.rs"]
mod limit;

use std::io::BufRead;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use relay::Relay;
use rules::Direction;

/// Options of `lab network`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Where the hub is; UDP and TCP.
    #[arg(long, value_name = "ADDRESS", required_unless_present = "measure")]
    towards: Option<SocketAddr>,
    /// Where agents dial instead; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Both ways, such as: loss=1% delay=20ms jitter=2ms rate=100mbit queue=50ms reorder=1% duplicate=1% mtu=1280 hole=on
    #[arg(long, value_name = "RULES", default_value = "")]
    both: String,
    /// From agents to the hub, instead of --both.
    #[arg(long, value_name = "RULES")]
    up: Option<String>,
    /// From the hub to agents, instead of --both.
    #[arg(long, value_name = "RULES")]
    down: Option<String>,
    /// What chance begins with: the same seed and the same traffic, the same losses.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Measures how much the relay itself can carry, instead of carrying anything.
    #[arg(long)]
    measure: bool,
}

/// What the lines on stdin may say.
const WORDS: &str = "up RULES | down RULES | both RULES | udp off|on | rebind | cut | show | quit";

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    if arguments.measure {
        return limit::print().map(|()| ExitCode::SUCCESS);
    }
    let towards = arguments.towards.context("--towards is missing")?;
    let relay = Relay::start(arguments.listen, towards, arguments.seed)?;
    relay.set(Direction::Up, arguments.up.as_ref().unwrap_or(&arguments.both).parse()?)?;
    relay.set(Direction::Down, arguments.down.as_ref().unwrap_or(&arguments.both).parse()?)?;
    println!("listens at {}; on stdin: {WORDS}; ends when stdin does", relay.address());
    for line in std::io::stdin().lock().lines() {
        match obey(&relay, line?.trim()) {
            Ok(Some(text)) => println!("{text}"),
            Ok(None) => break,
            Err(error) => println!("error: {error:#}"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One line of control; `None` is the end.
fn obey(relay: &Relay, line: &str) -> Result<Option<String>> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match (word, rest) {
        ("" | "show", _) => return Ok(Some(relay.describe()?)),
        ("quit", _) => return Ok(None),
        ("rebind", _) => relay.rebind()?,
        ("cut", _) => relay.cut()?,
        ("udp", "off") => relay.block_udp(true)?,
        ("udp", "on") => relay.block_udp(false)?,
        ("up", rules) => relay.set(Direction::Up, rules.parse()?)?,
        ("down", rules) => relay.set(Direction::Down, rules.parse()?)?,
        ("both", rules) => relay.set_both(rules.parse()?)?,
        _ => bail!("{line:?} is none of: {WORDS}"),
    }
    Ok(Some("ok".to_owned()))
}
