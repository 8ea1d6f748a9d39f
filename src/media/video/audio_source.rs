//! Sound read from a file that a user sent.

use std::collections::VecDeque;
use std::path::Path;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::{self, decoder};
use ffmpeg_next::format::context::Input;
use ffmpeg_next::frame::Audio;
use ffmpeg_next::{ChannelLayout, Packet, media};

use super::error::{MediaError, file_name};
use super::filter::{FilterChain, is_waiting};
use super::input;

/// Samples a second of what a source gives, whatever the file has.
pub(super) const SAMPLE_RATE: u32 = 48_000;

/// FFmpeg's readers of the sound files that users send. Playlists and the like, which name further files, are not among them.
const FORMATS: &str = "wav,w64,mp3,flac,aac,ogg,mov,matroska,aiff,caf";

/// What a file of sound holds.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioFacts {
    /// FFmpeg's name of the codec.
    pub codec: String,
    /// Samples a second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u16,
    /// How long it plays, seconds, counted by decoding all of it.
    pub seconds: f64,
}

/// Sound as 48 kHz stereo, whatever the file has. It holds the samples of a few packets.
pub(super) struct AudioSource {
    file: String,
    input: Input,
    stream: usize,
    decoder: decoder::Audio,
    chain: Option<FilterChain>,
    samples: VecDeque<(f32, f32)>,
    packets_ended: bool,
    ended: bool,
}

impl AudioSource {
    /// Opens the file and decodes its first samples. Fails with [`MediaError::NotAudio`].
    pub(super) fn open(path: &Path) -> Result<Self, MediaError> {
        let file = file_name(path);
        let refused = |error: ffmpeg::Error| MediaError::NotAudio { file: file.clone(), reason: error.to_string() };
        let input = input::open(path, FORMATS)?.map_err(&refused)?;
        let stream = input
            .streams()
            .best(media::Type::Audio)
            .ok_or_else(|| MediaError::NotAudio { file: file.clone(), reason: "it has no sound".to_owned() })?;
        let (index, parameters) = (stream.index(), stream.parameters());
        let decoder =
            codec::Context::from_parameters(parameters).and_then(|context| context.decoder().audio()).map_err(&refused)?;
        let mut source = Self {
            file,
            input,
            stream: index,
            decoder,
            chain: None,
            samples: VecDeque::new(),
            packets_ended: false,
            ended: false,
        };
        source.fill(1)?;
        if source.samples.is_empty() {
            return Err(source.refusal("there are no samples in it"));
        }
        Ok(source)
    }

    /// The next so many samples; what is not there is silence.
    pub(super) fn read(&mut self, count: usize) -> Result<Vec<(f32, f32)>, MediaError> {
        self.fill(count)?;
        let mut samples: Vec<(f32, f32)> = self.samples.drain(..count.min(self.samples.len())).collect();
        samples.resize(count, (0.0, 0.0));
        Ok(samples)
    }

    /// Decodes until so many samples wait, or the file ends.
    fn fill(&mut self, count: usize) -> Result<(), MediaError> {
        while self.samples.len() < count && !self.ended {
            self.take_filtered()?;
            if self.samples.len() < count && !self.decode()? {
                match &mut self.chain {
                    Some(chain) => chain.finish()?,
                    None => self.ended = true,
                }
                self.take_filtered()?;
                self.ended = true;
            }
        }
        Ok(())
    }

    fn take_filtered(&mut self) -> Result<(), MediaError> {
        let Some(chain) = &mut self.chain else { return Ok(()) };
        while let Some(frame) = chain.pull::<Audio>()? {
            self.samples.extend(frame.plane::<(f32, f32)>(0));
        }
        Ok(())
    }

    /// Decodes a frame into the chain; false at the end.
    fn decode(&mut self) -> Result<bool, MediaError> {
        let mut frame = Audio::empty();
        loop {
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => break,
                Err(ffmpeg::Error::Eof) => return Ok(false),
                Err(error) if !is_waiting(error) => return Err(self.refusal(&error.to_string())),
                Err(_) if self.packets_ended => return Ok(false),
                Err(_) => self.feed()?,
            }
        }
        if self.chain.is_none() {
            self.chain = Some(self.chain_for(&frame)?);
        }
        frame.set_pts(None);
        match &mut self.chain {
            Some(chain) => chain.push(frame).map_err(|error| self.refusal(&error.to_string()))?,
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Gives the decoder a packet, or the end.
    fn feed(&mut self) -> Result<(), MediaError> {
        let mut packet = Packet::empty();
        match packet.read(&mut self.input) {
            // A damaged packet is a gap, as players have it; a file of nothing else gives no samples and is refused for that.
            Ok(()) if packet.stream() == self.stream => match self.decoder.send_packet(&packet) {
                Ok(()) | Err(ffmpeg::Error::InvalidData) => Ok(()),
                Err(error) => Err(self.refusal(&error.to_string())),
            },
            Ok(()) | Err(ffmpeg::Error::InvalidData) => Ok(()),
            Err(_) => {
                self.packets_ended = true;
                self.decoder.send_eof().map_err(|error| self.refusal(&error.to_string()))
            }
        }
    }

    fn chain_for(&self, frame: &Audio) -> Result<FilterChain, MediaError> {
        let channels = frame.channels();
        let layout = match frame.channel_layout().bits() {
            0 => ChannelLayout::default(i32::from(channels)).bits(),
            bits => bits,
        };
        if channels == 0 || frame.rate() == 0 {
            return Err(self.refusal("it has no channels"));
        }
        let rate = frame.rate();
        let source =
            format!("time_base=1/{rate}:sample_rate={rate}:sample_fmt={}:channel_layout=0x{layout:x}", frame.format().name());
        let filters =
            format!("aresample={SAMPLE_RATE},aformat=sample_fmts=flt:sample_rates={SAMPLE_RATE}:channel_layouts=stereo");
        FilterChain::between("abuffer", &source, "abuffersink", &filters, "converting the sound")
            .map_err(|error| self.refusal(&error.to_string()))
    }

    fn refusal(&self, reason: &str) -> MediaError {
        MediaError::NotAudio { file: self.file.clone(), reason: reason.to_owned() }
    }
}

/// Decodes all of a file of sound and says what it holds. The interrupt is looked at every second of sound. Fails with
/// [`MediaError::NotAudio`], naming the file, when nothing in it can be decoded, and with [`MediaError::Interrupted`].
pub fn probe_audio(path: &Path, interrupted: &dyn Fn() -> bool) -> Result<AudioFacts, MediaError> {
    let mut source = AudioSource::open(path)?;
    let codec = source.decoder.id().name().to_owned();
    let (sample_rate, channels) = (source.decoder.rate(), source.decoder.channels());
    let mut samples = 0_u64;
    loop {
        if interrupted() {
            return Err(MediaError::Interrupted);
        }
        source.fill(SAMPLE_RATE as usize)?;
        let waiting = source.samples.len();
        samples += waiting as u64;
        source.samples.clear();
        if waiting == 0 {
            break;
        }
    }
    Ok(AudioFacts { codec, sample_rate, channels, seconds: samples as f64 / f64::from(SAMPLE_RATE) })
}
