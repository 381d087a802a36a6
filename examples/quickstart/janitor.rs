//! Removes our files when we cannot: a shell that waits for the end of a pipe which only we hold.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Outlives us by the time that removing takes; our children are dead by then, as the kernel kills them with us.
const WORK: &str = r#"trap '' INT TERM HUP; cat; for i in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$1" 2>/dev/null; [ -e "$1" ] || break; sleep 0.3; done"#;

/// A temporary directory that is removed at the end, whichever end that is.
#[derive(Debug)]
pub(crate) struct Workspace {
    dir: PathBuf,
    janitor: Child,
}

impl Workspace {
    /// Makes the directory, readable by us alone.
    pub(crate) fn new() -> io::Result<Self> {
        Self::within(&std::env::temp_dir())
    }

    /// The same, inside a directory of the caller's choice.
    pub(crate) fn within(parent: &Path) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("roadstead-quickstart-").tempdir_in(parent)?.keep();
        let mut janitor = Command::new("sh");
        janitor.args(["-c", WORK, "janitor"]).arg(&dir);
        janitor.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Ok(Self { janitor: janitor.spawn()?, dir })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        // It cannot fail but by being killed, and then the directory in the temporary place is all that stays.
        let _ = self.janitor.wait();
    }
}
