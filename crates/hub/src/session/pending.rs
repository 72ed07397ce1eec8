//! The commands of a connection that wait for execution, in order. Pure, and bounded in commands and in bytes.

use std::collections::{HashSet, VecDeque};

use crate::limits::LiveLimits;
use crate::protocol::Command;
use crate::protocol::close::Close;

/// See the module.
#[derive(Default)]
pub(super) struct Pending {
    commands: VecDeque<Waiting>,
    /// Bytes of the waiting commands.
    bytes: usize,
    /// Number of commands accepted so far.
    taken: u64,
    /// Whether a task executes the commands, and the id of the command that it executes.
    working: bool,
    working_on: u32,
    /// The close that follows the last waiting command; once set, no further commands are accepted.
    closing: Option<Close>,
}

/// A waiting command. The last command of a frame carries the frame's bytes, the others 0.
struct Waiting {
    command: Command,
    bytes: usize,
}

impl Pending {
    /// The number of commands accepted so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// The close that follows the last waiting command, once it is set.
    pub fn closing(&self) -> Option<Close> {
        self.closing
    }

    /// Accepts no further commands; returns whether a task still executes earlier ones.
    pub fn close_when_done(&mut self, close: Close) -> bool {
        self.closing = Some(close);
        self.working
    }

    /// Returns the next command; `None` ends the task that executes them.
    pub fn next(&mut self) -> Option<Command> {
        let next = self.commands.pop_front();
        self.working = next.is_some();
        self.working_on = next.as_ref().map_or(0, |next| next.command.id);
        let Waiting { command, bytes } = next?;
        self.bytes -= bytes;
        Some(command)
    }

    /// Accepts all commands of a frame of `bytes` bytes, or none. Returns whether a task must be started.
    ///
    /// # Errors
    /// The close for a client that has too much waiting, or that sent a command without an id or with the id of an
    /// unanswered one.
    pub fn put(&mut self, commands: Vec<Command>, bytes: usize, limits: &LiveLimits) -> Result<bool, Close> {
        if self.closing.is_some() {
            return Ok(false);
        }
        if self.commands.len() + commands.len() > limits.pending_commands || self.bytes + bytes > limits.pending_bytes {
            return Err(Close::TooManyRequests);
        }
        let due = self.commands.iter().map(|waiting| waiting.command.id);
        let mut due: HashSet<u32> = due.chain([self.working_on]).filter(|id| *id != 0).collect();
        for command in &commands {
            let answered = command.send.is_none();
            if answered && (command.id == 0 || !due.insert(command.id)) {
                return Err(Close::BadRequest);
            }
        }
        let last = commands.len().saturating_sub(1);
        for (n, command) in commands.into_iter().enumerate() {
            let bytes = if n == last { bytes } else { 0 };
            self.taken += 1;
            self.bytes += bytes;
            self.commands.push_back(Waiting { command, bytes });
        }
        Ok(!self.commands.is_empty() && !std::mem::replace(&mut self.working, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(id: u32) -> Command {
        Command {
            id,
            ..Command::default()
        }
    }

    fn limits() -> LiveLimits {
        LiveLimits {
            pending_commands: 3,
            pending_bytes: 100,
            ..LiveLimits::default()
        }
    }

    #[test]
    fn one_task_executes_the_commands_in_order() {
        let mut pending = Pending::default();
        assert_eq!(pending.put(vec![command(1), command(2)], 60, &limits()), Ok(true));
        assert_eq!(
            pending.put(vec![command(3)], 40, &limits()),
            Ok(false),
            "a task is running"
        );
        assert_eq!(pending.put(vec![command(4)], 0, &limits()), Err(Close::TooManyRequests));
        let ids: Vec<_> = std::iter::from_fn(|| pending.next()).map(|c| c.id).collect();
        assert_eq!((ids, pending.taken(), pending.bytes), (vec![1, 2, 3], 3, 0));
        assert_eq!(
            pending.put(vec![command(4)], 101, &limits()),
            Err(Close::TooManyRequests)
        );
        assert_eq!(pending.put(vec![command(4)], 100, &limits()), Ok(true));
    }

    #[test]
    fn the_id_of_an_unanswered_command_is_refused_with_its_whole_frame() {
        let mut pending = Pending::default();
        assert_eq!(pending.put(vec![command(1)], 1, &limits()), Ok(true));
        assert!(pending.next().is_some());
        for ids in [vec![1], vec![2, 2], vec![2, 0]] {
            let commands = ids.into_iter().map(command).collect();
            assert_eq!(pending.put(commands, 1, &limits()), Err(Close::BadRequest));
        }
        assert!(pending.next().is_none());
        assert_eq!(pending.put(vec![command(1)], 1, &limits()), Ok(true), "it was answered");
    }

    #[test]
    fn once_a_close_is_set_no_command_is_accepted_and_earlier_ones_are_finished() {
        let mut pending = Pending::default();
        assert!(!pending.close_when_done(Close::Shutdown), "no task is running");
        let mut pending = Pending::default();
        assert_eq!(pending.put(vec![command(1)], 1, &limits()), Ok(true));
        assert!(pending.close_when_done(Close::Shutdown));
        assert_eq!(pending.put(vec![command(2)], 1, &limits()), Ok(false));
        assert!(pending.next().is_some() && pending.next().is_none());
        assert_eq!(pending.closing(), Some(Close::Shutdown));
    }
}
