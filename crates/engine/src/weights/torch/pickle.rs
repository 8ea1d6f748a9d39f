//! The values of a pickle, as far as state dictionaries have them. Nothing is called, imported or looked up.
//!
//! Values lie flat in one list and name each other by their number, so that dropping and walking them needs no recursion, and a value
//! that a pickle uses a thousand times is there once.

use std::collections::HashMap;

/// A state dictionary has about 30 values a tensor, and the largest models have a few thousand tensors.
const MOST_VALUES: usize = 1 << 20;

/// The number of a value.
pub(super) type Id = u32;

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    /// Something that tensors are not made of.
    Other,
    /// true or false.
    Flag,
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
    /// A class or function by module and name, joined by a point.
    Global(String),
    /// A tuple or a list.
    Sequence(Vec<Id>),
    /// A dictionary, ordered or not; keys may repeat.
    Dictionary(Vec<(Id, Id)>),
    /// A reference to something outside of the pickle: a storage.
    Outside(Id),
    /// What a call would give.
    Call {
        /// What would be called.
        function: Id,
        /// With what.
        arguments: Id,
    },
}

/// The values of a pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    /// Reads `bytes`; words about what is wrong with them otherwise.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut machine = Machine { rest: bytes, values: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
        while machine.step()? {}
        let root = machine.pop()?;
        Ok(Self { values: machine.values, root })
    }

    /// The number of the whole.
    pub(super) fn root(&self) -> Id {
        self.root
    }

    /// The value with a number.
    pub(super) fn get(&self, id: Id) -> &Value {
        self.values.get(id as usize).unwrap_or(&Value::Other)
    }

    /// The members of a sequence.
    pub(super) fn sequence(&self, id: Id) -> Option<&[Id]> {
        if let Value::Sequence(members) = self.get(id) { Some(members) } else { None }
    }

    /// A text.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        if let Value::Text(text) = self.get(id) { Some(text) } else { None }
    }

    /// A class or function.
    pub(super) fn global(&self, id: Id) -> Option<&str> {
        if let Value::Global(name) = self.get(id) { Some(name) } else { None }
    }

    /// A whole number that is not negative.
    pub(super) fn size(&self, id: Id) -> Option<u64> {
        if let Value::Integer(number) = self.get(id) { u64::try_from(*number).ok() } else { None }
    }

    /// The entries of a dictionary.
    pub(super) fn dictionary(&self, id: Id) -> Option<&[(Id, Id)]> {
        if let Value::Dictionary(entries) = self.get(id) { Some(entries) } else { None }
    }
}

/// The stack machine that a pickle is a program for.
struct Machine<'a> {
    rest: &'a [u8],
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Lengths of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// One instruction; `false` after the last.
    fn step(&mut self) -> Result<bool, String> {
        let [code] = self.take::<1>()?;
        match code {
            // PROTO, FRAME
            0x80 => drop(self.take::<1>()?),
            0x95 => drop(self.take::<8>()?),
            b'.' => return Ok(false),
            // Marks and the stack
            b'(' => self.mark()?,
            // POP; and BUILD: the state of an object, such as a dictionary's `_metadata`, says nothing of tensors.
            b'0' | b'b' => drop(self.pop()?),
            // Constants
            b'N' => self.push(Value::Other)?,
            0x88 | 0x89 => self.push(Value::Flag)?,
            b'K' => {
                let [number] = self.take::<1>()?;
                self.push(Value::Integer(number.into()))?;
            }
            b'M' => {
                let number = u16::from_le_bytes(self.take()?);
                self.push(Value::Integer(number.into()))?;
            }
            b'J' => {
                let number = i32::from_le_bytes(self.take()?);
                self.push(Value::Integer(number.into()))?;
            }
            0x8a => self.long()?,
            b'G' => {
                self.take::<8>()?;
                self.push(Value::Other)?;
            }
            // Texts; those of Python 2 are byte strings
            b'X' | b'T' => self.text(4)?,
            0x8c | b'U' => self.text(1)?,
            0x8d => self.text(8)?,
            // Data
            b'B' => self.skip(4)?,
            b'C' => self.skip(1)?,
            // Collections
            b')' | b']' => self.push(Value::Sequence(Vec::new()))?,
            b'}' => self.push(Value::Dictionary(Vec::new()))?,
            b't' | b'l' => {
                let members = self.pop_to_mark()?;
                self.push(Value::Sequence(members))?;
            }
            0x85..=0x87 => {
                let from = self.stack.len().checked_sub(usize::from(code - 0x84)).ok_or_else(empty)?;
                let members = self.stack.split_off(from);
                self.push(Value::Sequence(members))?;
            }
            b'd' => {
                let entries = pairs(&self.pop_to_mark()?)?;
                self.push(Value::Dictionary(entries))?;
            }
            b'a' => {
                let member = self.pop()?;
                self.append(&[member])?;
            }
            b'e' => {
                let members = self.pop_to_mark()?;
                self.append(&members)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(vec![(key, value)])?;
            }
            b'u' => {
                let entries = pairs(&self.pop_to_mark()?)?;
                self.insert(entries)?;
            }
            // The memo
            b'q' => {
                let [key] = self.take::<1>()?;
                self.remember(key.into())?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.take()?);
                self.remember(key)?;
            }
            0x94 => self.remember(u32::try_from(self.memo.len()).map_err(|_| too_many())?)?,
            b'h' => {
                let [key] = self.take::<1>()?;
                self.recall(key.into())?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.take()?);
                self.recall(key)?;
            }
            // Objects
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(format!("{module}.{name}")))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| match self.values.get(id as usize) {
                    Some(Value::Text(text)) => Ok(text.as_str()),
                    _ => Err("a class without a name".to_owned()),
                };
                let global = format!("{}.{}", text(module)?, text(name)?);
                self.push(Value::Global(global))?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Outside(id))?;
            }
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let ordered =
                    matches!(self.values.get(function as usize), Some(Value::Global(name)) if name == "collections.OrderedDict");
                self.push(if ordered { Value::Dictionary(Vec::new()) } else { Value::Call { function, arguments } })?;
            }
            other => return Err(format!("the pickle has the instruction {other:#04x}, which no state dictionary needs")),
        }
        Ok(true)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(cut_off)?;
        self.rest = rest;
        Ok(*head)
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8], String> {
        let length = usize::try_from(length).map_err(|_| cut_off())?;
        let (head, rest) = self.rest.split_at_checked(length).ok_or_else(cut_off)?;
        self.rest = rest;
        Ok(head)
    }

    /// A length of `bytes` bytes, and as many as it says.
    fn counted(&mut self, bytes: usize) -> Result<&'a [u8], String> {
        let mut length = [0; 8];
        length[..bytes].copy_from_slice(self.bytes(bytes as u64)?);
        self.bytes(u64::from_le_bytes(length))
    }

    fn text(&mut self, length_bytes: usize) -> Result<(), String> {
        let text =
            std::str::from_utf8(self.counted(length_bytes)?).map_err(|_| "a text in the pickle is not UTF-8".to_owned())?;
        self.push(Value::Text(text.to_owned()))
    }

    fn skip(&mut self, length_bytes: usize) -> Result<(), String> {
        self.counted(length_bytes)?;
        self.push(Value::Other)
    }

    /// A whole number of few bytes; a longer one is none that could be a size.
    fn long(&mut self) -> Result<(), String> {
        let bytes = self.counted(1)?;
        let mut number = [if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 }; 8];
        let value = match number.get_mut(..bytes.len()) {
            Some(number_bytes) => {
                number_bytes.copy_from_slice(bytes);
                Value::Integer(i64::from_le_bytes(number))
            }
            None => Value::Other,
        };
        self.push(value)
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let length = self.rest.iter().position(|byte| *byte == b'\n').ok_or_else(cut_off)?;
        let line = self.bytes(length as u64)?;
        self.take::<1>()?;
        std::str::from_utf8(line).map_err(|_| "a name in the pickle is not UTF-8".to_owned())
    }

    fn push(&mut self, value: Value) -> Result<(), String> {
        if self.values.len() >= MOST_VALUES {
            return Err(too_many());
        }
        self.stack.push(self.values.len() as Id);
        self.values.push(value);
        Ok(())
    }

    fn mark(&mut self) -> Result<(), String> {
        if self.marks.len() >= MOST_VALUES {
            return Err(too_many());
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, String> {
        self.stack.pop().ok_or_else(empty)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len()).ok_or_else(empty)?;
        Ok(self.stack.split_off(mark))
    }

    fn last(&mut self) -> Result<&mut Value, String> {
        let id = *self.stack.last().ok_or_else(empty)?;
        self.values.get_mut(id as usize).ok_or_else(empty)
    }

    fn append(&mut self, members: &[Id]) -> Result<(), String> {
        match self.last()? {
            Value::Sequence(sequence) => sequence.extend_from_slice(members),
            _ => return Err("the pickle appends to what is no list".to_owned()),
        }
        Ok(())
    }

    fn insert(&mut self, entries: Vec<(Id, Id)>) -> Result<(), String> {
        match self.last()? {
            Value::Dictionary(dictionary) => dictionary.extend(entries),
            _ => return Err("the pickle inserts into what is no dictionary".to_owned()),
        }
        Ok(())
    }

    fn remember(&mut self, key: u32) -> Result<(), String> {
        let id = *self.stack.last().ok_or_else(empty)?;
        self.memo.insert(key, id);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), String> {
        let id = *self.memo.get(&key).ok_or_else(|| "the pickle recalls what it never remembered".to_owned())?;
        self.stack.push(id);
        Ok(())
    }
}

fn pairs(members: &[Id]) -> Result<Vec<(Id, Id)>, String> {
    let (pairs, rest) = members.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
    } else {
        Err("a key without a value".to_owned())
    }
}

fn cut_off() -> String {
    "the pickle is cut off".to_owned()
}

fn empty() -> String {
    "the pickle takes what is not there".to_owned()
}

fn too_many() -> String {
    format!("the pickle has more than the {MOST_VALUES} values that a state dictionary has at most")
}
