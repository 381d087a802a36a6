//! Child processes that end with us, however we end: by `Drop`, and by the kernel (`PR_SET_PDEATHSIG`) when we are killed.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// One child; dropping it kills it and waits for its end.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; its output goes to `dir/logs/<name>.log`.
    ///
    /// # Errors
    /// When the program or `setpriv` (util-linux) is missing.
    pub(crate) fn spawn(name: &str, command: Command, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("logs/{name}.log"));
        fs::create_dir_all(dir.join("logs"))?;
        let file = OpenOptions::new().create(true).append(true).open(&log)?;
        let mut bound = bound_to_us(&command);
        // A group of its own: Ctrl-C in a terminal is for whoever is in front, and we end our children in order.
        bound.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let mut running = running()?;
        ensure!(!running.stopping, "everything was told to stop");
        let child = spawn_by_keeper(bound).with_context(|| format!("starting {name}"))?;
        running.pids.push(child.id());
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// What it was called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// # Errors
    /// When the process has ended, with the end of its log.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}): {}", self.name, self.log_tail()),
        }
    }

    /// Asks it to end (SIGTERM) and waits for it, at most so long; what is left is for `Drop`.
    pub(crate) fn ask_to_end(&mut self, within: Duration) {
        let deadline = Instant::now() + within;
        if signal(self.pid(), "TERM").is_ok() {
            while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Ok(mut running) = running() {
            running.pids.retain(|pid| *pid != self.child.id());
        }
    }
}

#[derive(Debug, Default)]
struct Running {
    stopping: bool,
    pids: Vec<u32>,
}

/// What runs now, of this whole program.
fn running() -> Result<MutexGuard<'static, Running>> {
    static RUNNING: Mutex<Running> = Mutex::new(Running { stopping: false, pids: Vec::new() });
    RUNNING.lock().map_err(|_| anyhow::anyhow!("a thread panicked while it started a process"))
}

/// Kills every process at once and lets none start any more: whoever waits for one of them fails soon, and cleans up.
pub(crate) fn stop_all() {
    if let Ok(mut running) = running() {
        running.stopping = true;
        for pid in &running.pids {
            // It may have ended by itself.
            let _ = signal(*pid, "KILL");
        }
    }
}

/// Sends a signal by name (`STOP`, `CONT`, `TERM`, …) to a process.
///
/// # Errors
/// When there is no such process.
pub(crate) fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid} 2>/dev/null")]).status()?;
    ensure!(status.success(), "cannot send SIG{name} to process {pid}");
    Ok(())
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes).with_context(|| format!("writing {}", path.display()))
}

/// The last 2 KiB of a text file.
pub(crate) fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(2048)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("(no log: {error})"))
}

/// The same command, killed by the kernel when the thread that started it ends.
pub(crate) fn bound_to_us(command: &Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        bound.current_dir(dir);
    }
    bound
}

type Order = (Command, mpsc::Sender<std::io::Result<Child>>);

/// Starts it from a thread that lives as long as the process: the kernel's "parent" is a thread, and a test's thread ends early.
fn spawn_by_keeper(command: Command) -> Result<Child> {
    static KEEPER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                // Nobody waits any more: the child is dropped, and dies with us.
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (reply, answer) = mpsc::channel();
    keeper
        .lock()
        .map_err(|_| anyhow::anyhow!("a thread panicked while it started a process"))?
        .send((command, reply))?;
    Ok(answer.recv()??)
}
