//! The rules under a random scheduler: the product's own state machines, put into a world that loses, cuts, delays, reorders and crashes.
//!
//! No socket, no task and no clock: a schedule is a seed. A failing one prints its seed; `ROADSTEAD_SIMULATION_SEED=<seed> cargo test --lib
//! simulation` plays it again. `ROADSTEAD_SIMULATION_SCHEDULES=<n>` plays n schedules of each kind instead of the usual number.

mod exchange;
mod frames;
mod links;
mod redial;
mod renewal;

/// The scheduler's dice (splitmix64): a schedule is what its seed makes of it.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// With a probability of `percent`.
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `from`.
    fn one<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Between 0 and 1.
    fn fraction(&mut self) -> f64 {
        f64::from(u32::try_from(self.roll() >> 32).unwrap()) / f64::from(u32::MAX)
    }
}

/// Says which schedule it was when one panics.
struct Playing(u64);

impl Drop for Playing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this schedule again: ROADSTEAD_SIMULATION_SEED={} cargo test --lib simulation", self.0);
        }
    }
}

/// Plays so many schedules, always the same ones; or what the environment asks for. Says how many.
fn play(usual: u64, schedule: impl Fn(&mut Dice)) -> u64 {
    let asked = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (first, count) = match asked("ROADSTEAD_SIMULATION_SEED") {
        Some(seed) => (seed, 1),
        None => (0, asked("ROADSTEAD_SIMULATION_SCHEDULES").unwrap_or(usual)),
    };
    for seed in first..first + count {
        let _playing = Playing(seed);
        // Neighbouring seeds must not make neighbouring schedules.
        schedule(&mut Dice(seed.wrapping_mul(0xD6E8_FEB8_6659_FD93)));
    }
    count
}
