//! Frames: a length (u32, little-endian), then a JSON array of messages.

use std::io::{self, Read};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of a frame at most. The largest message is a preview.
pub const MOST_FRAME_BYTES: usize = 16 << 20;
/// Bytes before the array.
pub const HEADER_BYTES: usize = 4;

/// What is no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream broke.
    #[error("{0}")]
    Stream(#[from] io::Error),
    /// A length that no frame has.
    #[error("a frame of {0} bytes; at most {MOST_FRAME_BYTES} are possible")]
    Length(usize),
    /// Not the messages that belong here.
    #[error("a frame that cannot be read: {0}")]
    Content(#[from] serde_json::Error),
}

/// Messages as one frame.
pub fn encode<T: Serialize>(messages: &[T]) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; HEADER_BYTES];
    serde_json::to_writer(&mut bytes, messages)?;
    let length = bytes.len() - HEADER_BYTES;
    if length > MOST_FRAME_BYTES {
        return Err(FrameError::Length(length));
    }
    bytes[..HEADER_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// The length that a header announces, if a frame can have it.
pub fn length(header: [u8; HEADER_BYTES]) -> Result<usize, FrameError> {
    match u32::from_le_bytes(header) as usize {
        length @ 0..=MOST_FRAME_BYTES => Ok(length),
        length => Err(FrameError::Length(length)),
    }
}

/// The messages of a frame's content.
pub fn decode<T: DeserializeOwned>(content: &[u8]) -> Result<Vec<T>, FrameError> {
    Ok(serde_json::from_slice(content)?)
}

/// The next frame's messages; `None` when the stream ends between frames.
pub fn read<T: DeserializeOwned>(stream: &mut impl Read) -> Result<Option<Vec<T>>, FrameError> {
    let mut header = [0; HEADER_BYTES];
    match stream.read(&mut header[..1]) {
        Ok(0) => return Ok(None),
        Ok(_) => stream.read_exact(&mut header[1..])?,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return read(stream),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let length = length(header)?;
    let mut content = Vec::new();
    stream.take(length as u64).read_to_end(&mut content)?;
    if content.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    decode(&content).map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::{ToServer, ToWorker};
    use super::*;
    use crate::task::TaskNumber;

    #[test]
    fn frames_come_back_one_by_one() {
        let first = [ToWorker::Stop, ToWorker::Cancel { number: TaskNumber(7) }];
        let mut stream = encode(&first).unwrap();
        stream.extend(encode::<ToWorker>(&[]).unwrap());
        let mut stream = stream.as_slice();
        assert_eq!(read::<ToWorker>(&mut stream).unwrap().unwrap(), first);
        assert_eq!(read::<ToWorker>(&mut stream).unwrap().unwrap(), []);
        assert!(read::<ToWorker>(&mut stream).unwrap().is_none());
    }

    #[test]
    fn lies_about_length_are_not_believed() {
        assert!(matches!(read::<ToServer>(&mut [0xff; 64].as_slice()), Err(FrameError::Length(_))));
        let mut promised = (MOST_FRAME_BYTES as u32).to_le_bytes().to_vec();
        promised.extend(b"[]");
        assert!(matches!(read::<ToServer>(&mut promised.as_slice()), Err(FrameError::Stream(_))));
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut stream = bytes.as_slice();
            while let Ok(Some(_)) = read::<ToServer>(&mut stream) {}
        }
    }
}
