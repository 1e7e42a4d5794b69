//! A server behind Fanfare that a test starts for itself: its files, its port, its
//! process.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Ends with the test, and takes its files with it.
pub(crate) struct Backing {
    directory: TempDir,
    pub(crate) port: u16,
    running: Option<Child>,
}

impl Backing {
    /// With an empty directory and a free port; nothing runs yet.
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            port: free_port(),
            running: None,
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the server. Whether it answers is for the caller to find out.
    pub(crate) fn run(&mut self, command: &mut Command) {
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run installs it"));
        self.running = Some(child);
    }

    /// Ends the server as a crash would; its files stay.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        self.stop();
    }
}

/// On loopback.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .unwrap()
        .port()
}
