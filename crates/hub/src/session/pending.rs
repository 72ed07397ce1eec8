//! The commands of a connection that wait for their turn, in order. Pure, and bounded in commands and in bytes.

use std::collections::{HashSet, VecDeque};

use crate::limits::LiveLimits;
use crate::protocol::Command;
use crate::protocol::close::Close;

/// See the module.
#[derive(Default)]
pub(super) struct Pending {
    commands: VecDeque<Waiting>,
    /// Of those, together.
    bytes: usize,
    /// Commands that came.
    taken: u64,
    /// Whether a task works through them, and the id of what it works on.
    working: bool,
    working_on: u32,
    /// How to close when none waits any more; no further ones are taken.
    closing: Option<Close>,
}

/// A command that waits, and the bytes of its frame if it is the frame's last.
struct Waiting {
    command: Command,
    bytes: usize,
}

impl Pending {
    /// Commands that came so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// How to close when none waits any more, once that is decided.
    pub fn closing(&self) -> Option<Close> {
        self.closing
    }

    /// Takes no more; returns whether a task still works through what was taken.
    pub fn close_when_done(&mut self, close: Close) -> bool {
        self.closing = Some(close);
        self.working
    }

    /// The next command; none ends the task that works through them.
    pub fn next(&mut self) -> Option<Command> {
        let next = self.commands.pop_front();
        self.working = next.is_some();
        self.working_on = next.as_ref().map_or(0, |next| next.command.id);
        let Waiting { command, bytes } = next?;
        self.bytes -= bytes;
        Some(command)
    }

    /// Takes the commands of a frame of so many bytes, all or none; returns whether a task has to be started.
    ///
    /// # Errors
    /// How to close where too much waits, where a command has no id to be answered under, or one whose answer is due.
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
    fn commands_have_their_turn_in_order_and_one_task_works_through_them() {
        let mut pending = Pending::default();
        assert_eq!(pending.put(vec![command(1), command(2)], 60, &limits()), Ok(true));
        assert_eq!(
            pending.put(vec![command(3)], 40, &limits()),
            Ok(false),
            "one works already"
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
    fn an_id_whose_answer_is_due_is_refused_with_all_of_its_frame() {
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
    fn once_it_is_to_close_it_takes_no_more_and_finishes_what_it_has() {
        let mut pending = Pending::default();
        assert!(!pending.close_when_done(Close::Shutdown), "nobody works");
        let mut pending = Pending::default();
        assert_eq!(pending.put(vec![command(1)], 1, &limits()), Ok(true));
        assert!(pending.close_when_done(Close::Shutdown));
        assert_eq!(pending.put(vec![command(2)], 1, &limits()), Ok(false));
        assert!(pending.next().is_some() && pending.next().is_none());
        assert_eq!(pending.closing(), Some(Close::Shutdown));
    }
}
