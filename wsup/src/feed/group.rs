//! A command and all that it starts, as one group of processes.

use tokio::process::{Child, Command};

/// The processes of a command. To drop it kills them.
pub(crate) struct Group {
    /// The group's number; `None` once they may go on.
    #[cfg(unix)]
    leader: Option<rustix::process::Pid>,
}

impl Group {
    /// Has a command begin a group of its own.
    pub(crate) fn prepare(command: &mut Command) {
        #[cfg(unix)]
        command.process_group(0);
        #[cfg(not(unix))]
        let _ = command;
    }

    /// Returns the group of a command that was prepared.
    #[cfg(unix)]
    pub(crate) fn of(child: &Child) -> Group {
        let leader = child.id().and_then(|id| i32::try_from(id).ok());
        Group { leader: leader.and_then(rustix::process::Pid::from_raw) }
    }

    /// Other systems kill the shell alone, with the [`Child`].
    #[cfg(not(unix))]
    pub(crate) fn of(_: &Child) -> Group {
        Group {}
    }

    /// Lets the processes go on that the command has left behind. To be called once its end is known: the number of the
    /// group may be used again.
    #[cfg_attr(not(unix), allow(unused_mut, reason = "there is nothing to forget"))]
    pub(crate) fn release(mut self) {
        #[cfg(unix)]
        self.leader.take();
        drop(self);
    }
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader.take() {
            // Fails if all of them have ended.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}
