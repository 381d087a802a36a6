//! Processes that are measured: their CPU and memory, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::numbers::{Machine, cpu_of_stat, kilobytes_of_status};

/// A process on the way of a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Watched {
    /// What it is: `hub`, `agent`, `front`, …
    pub(crate) name: String,
    /// Its process id.
    pub(crate) pid: u32,
}

impl Watched {
    /// A process of that name.
    pub(crate) fn new(name: &str, pid: u32) -> Self {
        Self { name: name.to_owned(), pid }
    }

    /// CPU time since its start.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).with_context(|| self.gone())?;
        cpu_of_stat(&stat).context("reading a process's stat")
    }

    /// Resident kilobytes now.
    pub(crate) fn resident(&self) -> Result<u64> {
        self.status("VmRSS")
    }

    /// The most resident kilobytes since [`Self::forget_peak`].
    pub(crate) fn peak(&self) -> Result<u64> {
        self.status("VmHWM")
    }

    /// Begins a new search for the peak (`man 5 proc_pid_clear_refs`: 5 resets the high-water mark and nothing else).
    pub(crate) fn forget_peak(&self) -> Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.pid), "5").with_context(|| self.gone())
    }

    fn status(&self, name: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).with_context(|| self.gone())?;
        kilobytes_of_status(&status, name).with_context(|| format!("no {name} in a process's status"))
    }

    fn gone(&self) -> String {
        format!("looking at {} (process {})", self.name, self.pid)
    }
}

/// CPU time of the thread that calls.
pub(crate) fn this_thread() -> Result<Duration> {
    cpu_of_stat(&fs::read_to_string("/proc/thread-self/stat")?).context("reading this thread's stat")
}

/// What the machine did with its time up to now.
pub(crate) fn machine() -> Result<Machine> {
    Machine::of_stat(&fs::read_to_string("/proc/stat")?).context("reading the machine's stat")
}

/// CPU and memory of some processes over a stretch of time.
#[derive(Debug)]
pub(crate) struct Usage {
    processes: Vec<Watched>,
    cpu: Vec<Duration>,
    resident: Vec<u64>,
}

impl Usage {
    /// Begins to watch, the peak of memory included.
    pub(crate) fn begin(processes: &[Watched]) -> Result<Self> {
        processes.iter().try_for_each(Watched::forget_peak)?;
        Self::begin_again(processes)
    }

    /// Begins to watch within another stretch, whose peak goes on.
    pub(crate) fn begin_again(processes: &[Watched]) -> Result<Self> {
        Ok(Self {
            processes: processes.to_vec(),
            cpu: processes.iter().map(Watched::cpu).collect::<Result<_>>()?,
            resident: processes.iter().map(Watched::resident).collect::<Result<_>>()?,
        })
    }

    /// Seconds of CPU since the beginning, of each process.
    pub(crate) fn cpu_seconds(&self) -> Result<Vec<f64>> {
        self.processes.iter().zip(&self.cpu).map(|(one, from)| Ok((one.cpu()? - *from).as_secs_f64())).collect()
    }

    /// Megabytes by which each process grew at its largest.
    pub(crate) fn peak_growth(&self) -> Result<Vec<f64>> {
        self.growth(Watched::peak)
    }

    /// Megabytes by which each process is larger now.
    pub(crate) fn growth_now(&self) -> Result<Vec<f64>> {
        self.growth(Watched::resident)
    }

    fn growth(&self, read: fn(&Watched) -> Result<u64>) -> Result<Vec<f64>> {
        let one = |(process, from): (&Watched, &u64)| Ok((read(process)? as f64 - *from as f64) / 1024.0);
        self.processes.iter().zip(&self.resident).map(one).collect()
    }
}
