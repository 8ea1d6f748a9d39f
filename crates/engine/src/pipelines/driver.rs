//! The loop that drives several machines over one model.

use super::machine::{Outputs, Row, StepMachine, Want};
use crate::error::{Error, Result};
use crate::latent::Latent;
use crate::ops::Interrupt;

/// A model that answers what machines want.
pub trait Evaluator {
    /// What its rows are conditioned on.
    type Conditioning;
    /// What it decodes latents to.
    type Decoded;
    /// Evaluates rows of equal latent size together; one latent a row.
    fn evaluate(&self, rows: &[Row<Self::Conditioning>], interrupt: &Interrupt) -> Result<Vec<Latent>>;
    /// Decodes unscaled latents.
    fn decode(&self, latent: &Latent, interrupt: &Interrupt) -> Result<Self::Decoded>;
}

/// What an observer wants of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proceed {
    /// Go on.
    Continue,
    /// Leave it where it is.
    Stop,
}

/// How a machine's drive ended.
#[derive(Debug)]
pub enum Ended {
    /// It wants nothing more.
    Finished,
    /// The observer stopped it; it can be driven on, or saved by [`StepMachine::checkpoint`].
    Stopped,
    /// It, or the decoding of its picture, failed.
    Failed(Error),
}

/// The position of a machine's row among all rows of a round.
struct Place {
    machine: usize,
    row: usize,
}

/// Rows of one latent size.
struct Group<C> {
    places: Vec<Place>,
    rows: Vec<Row<C>>,
}

/// Runs machines to their end over one model, and says of each how it ended.
///
/// In every round each machine still running is asked what it wants. Rows of equal latent size are evaluated together, at most
/// `most_rows` (but at least one) a call; pictures are decoded one by one, so that the memory of one decode is the most that is
/// needed. After a machine was given something, and once before the first round, `observe` sees its index and itself (progress,
/// prediction for a preview, frames to take, checkpoint) and says whether it goes on.
///
/// `interrupt` stops all of them within a block of the network: the error is [`Error::Cancelled`]. That error, and an error of an
/// evaluation, leaves every machine between two evaluations, from where another call can drive it on.
pub fn drive<E, M>(
    evaluator: &E,
    machines: &mut [M],
    most_rows: usize,
    interrupt: &Interrupt,
    mut observe: impl FnMut(usize, &mut M) -> Proceed,
) -> Result<Vec<Ended>>
where
    E: Evaluator,
    M: StepMachine<Conditioning = E::Conditioning, Decoded = E::Decoded>,
{
    let mut ended: Vec<Option<Ended>> = Vec::with_capacity(machines.len());
    for (index, machine) in machines.iter_mut().enumerate() {
        ended.push((observe(index, machine) == Proceed::Stop).then_some(Ended::Stopped));
    }
    loop {
        let mut rows: Vec<(Place, Row<E::Conditioning>)> = Vec::new();
        let mut decodes = Vec::new();
        for (index, machine) in machines.iter().enumerate() {
            if ended[index].is_some() {
                continue;
            }
            match machine.want() {
                Want::Evaluate { rows: wanted } => {
                    rows.extend(wanted.into_iter().enumerate().map(|(row, wanted)| (Place { machine: index, row }, wanted)));
                }
                Want::Decode { latent } => decodes.push((index, latent)),
                Want::Done => ended[index] = Some(Ended::Finished),
            }
        }
        if rows.is_empty() && decodes.is_empty() {
            // Every machine has ended; one that wants an evaluation of no rows would never.
            return Ok(ended.into_iter().map(|ended| ended.unwrap_or(Ended::Stopped)).collect());
        }
        let mut give = |index: usize, outputs: Result<Outputs<E::Decoded>>, ended: &mut Vec<Option<Ended>>| match outputs
            .and_then(|outputs| machines[index].give(outputs))
        {
            Err(error) => ended[index] = Some(Ended::Failed(error)),
            Ok(()) if observe(index, &mut machines[index]) == Proceed::Stop => ended[index] = Some(Ended::Stopped),
            Ok(()) => {}
        };
        for (index, outputs) in evaluated(evaluator, rows, most_rows.max(1), interrupt)? {
            give(index, Ok(Outputs::Evaluated(outputs)), &mut ended);
        }
        for (index, latent) in decodes {
            match evaluator.decode(&latent, interrupt) {
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                decoded => give(index, decoded.map(Outputs::Decoded), &mut ended),
            }
        }
    }
}

/// Evaluates all rows, those of one size together, and sorts the outputs by machine.
fn evaluated<E: Evaluator>(
    evaluator: &E,
    rows: Vec<(Place, Row<E::Conditioning>)>,
    most_rows: usize,
    interrupt: &Interrupt,
) -> Result<Vec<(usize, Vec<Latent>)>> {
    let mut groups: Vec<Group<E::Conditioning>> = Vec::new();
    for (place, row) in rows {
        let fitting =
            groups.iter_mut().find(|group| group.rows.first().is_some_and(|first| first.sample.same_shape(&row.sample)));
        match fitting {
            Some(group) => {
                group.places.push(place);
                group.rows.push(row);
            }
            None => groups.push(Group { places: vec![place], rows: vec![row] }),
        }
    }
    let mut outputs: Vec<(Place, Latent)> = Vec::new();
    for Group { places, rows } in groups {
        let mut places = places.into_iter();
        for batch in rows.chunks(most_rows) {
            let latents = evaluator.evaluate(batch, interrupt)?;
            if latents.len() != batch.len() {
                return Err(Error::Device(format!("the model answered {} rows with {}", batch.len(), latents.len())));
            }
            outputs.extend(places.by_ref().zip(latents));
        }
    }
    outputs.sort_by_key(|(place, _)| (place.machine, place.row));
    let mut by_machine: Vec<(usize, Vec<Latent>)> = Vec::new();
    for (place, latent) in outputs {
        match by_machine.last_mut() {
            Some((machine, latents)) if *machine == place.machine => latents.push(latent),
            _ => by_machine.push((place.machine, vec![latent])),
        }
    }
    Ok(by_machine)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;

    use super::*;
    use crate::vision::Picture;

    /// Counts up to `goal` by adding what the model answers: the number of its row.
    struct Counter {
        shape: (usize, usize),
        rows: usize,
        goal: usize,
        given: usize,
        decoded: bool,
        fails: bool,
    }

    impl Counter {
        fn new(width: usize, rows: usize, goal: usize) -> Self {
            Self { shape: (1, width), rows, goal, given: 0, decoded: false, fails: false }
        }
    }

    impl StepMachine for Counter {
        type Conditioning = usize;
        type Decoded = Picture;
        fn want(&self) -> Want<usize> {
            let latent = Latent::zeros(1, self.shape.0, self.shape.1, 1);
            if self.given < self.goal {
                let row = |number| Row { sample: latent.clone(), timestep: 0.0, conditioning: Arc::new(number) };
                Want::Evaluate { rows: (0..self.rows).map(row).collect() }
            } else if self.decoded {
                Want::Done
            } else {
                Want::Decode { latent }
            }
        }
        fn give(&mut self, outputs: Outputs) -> Result<()> {
            match outputs {
                Outputs::Evaluated(latents) => {
                    let numbers: Vec<_> = latents.iter().map(|latent| latent.values[0] as usize).collect();
                    assert_eq!(numbers, (0..self.rows).collect::<Vec<_>>());
                    if self.fails {
                        return Err(Error::request("prompt", "no"));
                    }
                    self.given += 1;
                }
                Outputs::Decoded(_) => self.decoded = true,
            }
            Ok(())
        }
        fn progress(&self) -> (usize, usize) {
            (self.given, self.goal)
        }
        fn predicted(&self) -> Option<&Latent> {
            None
        }
        fn checkpoint(&self) -> Vec<u8> {
            Vec::new()
        }
        fn resume(&mut self, _checkpoint: &[u8]) -> Result<()> {
            Ok(())
        }
    }

    /// Answers every row with its conditioning, and writes down how many rows each call had.
    #[derive(Default)]
    struct Echo {
        calls: RefCell<Vec<(usize, usize)>>,
        cancel_at: Option<usize>,
    }

    impl Evaluator for Echo {
        type Conditioning = usize;
        type Decoded = Picture;
        fn evaluate(&self, rows: &[Row<usize>], interrupt: &Interrupt) -> Result<Vec<Latent>> {
            if self.cancel_at == Some(self.calls.borrow().len()) {
                interrupt.cancel();
            }
            interrupt.check()?;
            self.calls.borrow_mut().push((rows[0].sample.width, rows.len()));
            assert!(rows.iter().all(|row| row.sample.same_shape(&rows[0].sample)));
            Ok(rows.iter().map(|row| row.sample.map(|_| *row.conditioning as f32)).collect())
        }
        fn decode(&self, latent: &Latent, _interrupt: &Interrupt) -> Result<Picture> {
            Ok(Picture { height: 1, width: latent.width, channels: 1, values: latent.values.clone() })
        }
    }

    #[test]
    fn equal_sizes_share_calls_and_no_call_is_too_large() {
        let model = Echo::default();
        let mut machines = [Counter::new(3, 2, 2), Counter::new(5, 1, 1), Counter::new(3, 2, 1), Counter::new(3, 1, 2)];
        let ended = drive(&model, &mut machines, 3, &Interrupt::default(), |_, _| Proceed::Continue).unwrap();
        assert!(ended.iter().all(|ended| matches!(ended, Ended::Finished)));
        assert!(machines.iter().all(|machine| machine.decoded));
        // First round: five rows of width 3 as three and two, one of width 5. Second: two machines of width 3 are left.
        assert_eq!(*model.calls.borrow(), [(3, 3), (3, 2), (5, 1), (3, 3)]);
    }

    #[test]
    fn one_machine_stops_or_fails_and_the_others_go_on() {
        let mut machines = [Counter::new(3, 1, 4), Counter::new(3, 1, 4), Counter::new(3, 1, 4)];
        machines[2].fails = true;
        let stop_second = |index: usize, machine: &mut Counter| {
            if index == 1 && machine.given == 2 { Proceed::Stop } else { Proceed::Continue }
        };
        let ended = drive(&Echo::default(), &mut machines, 8, &Interrupt::default(), stop_second).unwrap();
        assert!(matches!(ended[..], [Ended::Finished, Ended::Stopped, Ended::Failed(Error::Request { .. })]));
        assert_eq!(machines[1].given, 2);
        drive(&Echo::default(), &mut machines[1..2], 8, &Interrupt::default(), |_, _| Proceed::Continue).unwrap();
        assert!(machines[1].decoded);
    }

    #[test]
    fn an_interrupt_leaves_the_machines_to_be_driven_on() {
        let model = Echo { cancel_at: Some(2), ..Echo::default() };
        let mut machines = [Counter::new(3, 1, 4)];
        let result = drive(&model, &mut machines, 8, &Interrupt::default(), |_, _| Proceed::Continue);
        assert!(matches!(result, Err(Error::Cancelled)));
        assert_eq!(machines[0].progress(), (2, 4));
        drive(&Echo::default(), &mut machines, 8, &Interrupt::default(), |_, _| Proceed::Continue).unwrap();
        assert!(machines[0].decoded);
    }

    #[test]
    fn nothing_to_drive_ends_at_once() {
        let mut machines: [Counter; 0] = [];
        assert!(drive(&Echo::default(), &mut machines, 1, &Interrupt::default(), |_, _| Proceed::Continue).unwrap().is_empty());
    }
}
