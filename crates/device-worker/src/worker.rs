//! The loop of a device's thread: commands are taken between two evaluations, so that tasks join and leave while others run.

use std::sync::mpsc::{Receiver, TryRecvError};

use crate::device::{BatchDevice, LoadedModel};
use crate::task::{Failure, ModelFiles, Report, Task, TaskNumber, TaskOutput};

/// What a device's thread is told.
#[derive(Debug)]
pub enum Command {
    /// Run a task.
    Run(TaskNumber, Box<Task>),
    /// Load a model before anybody needs it.
    Load {
        /// Comes back with the answer.
        ticket: u64,
        /// Which.
        model: ModelFiles,
    },
    /// Give back a model's memory.
    Unload {
        /// Comes back with the answer.
        ticket: u64,
        /// Which.
        model: String,
    },
}

/// What a device's thread says.
#[derive(Debug)]
pub enum Event {
    /// A task is on its way.
    Report(TaskNumber, Report),
    /// A task has ended; nothing more is said of it.
    Ended(TaskNumber, Result<TaskOutput, Failure>),
    /// A command was carried out.
    Answered {
        /// The command's.
        ticket: u64,
        /// How it went.
        result: Result<(), Failure>,
    },
    /// Other models are loaded than before.
    Loaded(Vec<LoadedModel>),
}

/// Runs a device until the command channel closes; tasks that run then are dropped.
pub fn serve(device: &mut dyn BatchDevice, commands: &Receiver<Command>, say: &mut dyn FnMut(Event)) {
    let mut loaded = Vec::new();
    loop {
        // With nothing to do, wait; else take what is there.
        let mut next = if device.active() == 0 {
            match commands.recv() {
                Ok(command) => Some(command),
                Err(_) => return,
            }
        } else {
            None
        };
        loop {
            let command = match next.take() {
                Some(command) => command,
                None => match commands.try_recv() {
                    Ok(command) => command,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                },
            };
            let answer = obey(device, command, say);
            tell_loaded(device, &mut loaded, say);
            if let Some(answer) = answer {
                say(answer);
            }
        }
        if device.active() > 0 {
            let ended = device.advance(&mut |number, report| say(Event::Report(number, report)));
            // Before the ends, so that whoever acts on an end knows what is loaded.
            tell_loaded(device, &mut loaded, say);
            for (number, result) in ended {
                say(Event::Ended(number, result));
            }
        }
    }
}

fn obey(device: &mut dyn BatchDevice, command: Command, say: &mut dyn FnMut(Event)) -> Option<Event> {
    match command {
        Command::Run(number, task) => {
            let begun = device.begin(number, *task, &mut |number, report| say(Event::Report(number, report)));
            begun.err().map(|failure| Event::Ended(number, Err(failure)))
        }
        Command::Load { ticket, model } => Some(Event::Answered { ticket, result: device.load(&model) }),
        Command::Unload { ticket, model } => Some(Event::Answered { ticket, result: device.unload(&model) }),
    }
}

fn tell_loaded(device: &dyn BatchDevice, known: &mut Vec<LoadedModel>, say: &mut dyn FnMut(Event)) {
    let loaded = device.loaded();
    if loaded != *known {
        known.clone_from(&loaded);
        say(Event::Loaded(loaded));
    }
}
