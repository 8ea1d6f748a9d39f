//! The fifteen commands, in the words of MiniMax's documentation.

use std::fmt::{self, Display, Formatter};

/// A movement of the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CameraCommand {
    /// The camera goes to the left: what it sees moves to the right.
    TruckLeft,
    /// The camera goes to the right.
    TruckRight,
    /// The camera turns to the left: what it sees moves to the right.
    PanLeft,
    /// The camera turns to the right.
    PanRight,
    /// The camera comes nearer.
    PushIn,
    /// The camera draws back.
    PullOut,
    /// The camera rises: what it sees moves down.
    PedestalUp,
    /// The camera sinks.
    PedestalDown,
    /// The camera turns up: what it sees moves down.
    TiltUp,
    /// The camera turns down.
    TiltDown,
    /// The lens narrows its view.
    ZoomIn,
    /// The lens widens its view.
    ZoomOut,
    /// The camera is held by an unsteady hand.
    Shake,
    /// The camera follows: it comes a little nearer and drifts with what it follows.
    TrackingShot,
    /// The camera stands.
    StaticShot,
}

impl CameraCommand {
    /// All of them, in the documentation's order.
    pub const ALL: [Self; 15] = [
        Self::TruckLeft,
        Self::TruckRight,
        Self::PanLeft,
        Self::PanRight,
        Self::PushIn,
        Self::PullOut,
        Self::PedestalUp,
        Self::PedestalDown,
        Self::TiltUp,
        Self::TiltDown,
        Self::ZoomIn,
        Self::ZoomOut,
        Self::Shake,
        Self::TrackingShot,
        Self::StaticShot,
    ];

    /// Its English name.
    pub fn name(self) -> &'static str {
        match self {
            Self::TruckLeft => "Truck left",
            Self::TruckRight => "Truck right",
            Self::PanLeft => "Pan left",
            Self::PanRight => "Pan right",
            Self::PushIn => "Push in",
            Self::PullOut => "Pull out",
            Self::PedestalUp => "Pedestal up",
            Self::PedestalDown => "Pedestal down",
            Self::TiltUp => "Tilt up",
            Self::TiltDown => "Tilt down",
            Self::ZoomIn => "Zoom in",
            Self::ZoomOut => "Zoom out",
            Self::Shake => "Shake",
            Self::TrackingShot => "Tracking shot",
            Self::StaticShot => "Static shot",
        }
    }

    /// Its Chinese name.
    pub fn chinese_name(self) -> &'static str {
        match self {
            Self::TruckLeft => "左移",
            Self::TruckRight => "右移",
            Self::PanLeft => "左摇",
            Self::PanRight => "右摇",
            Self::PushIn => "推进",
            Self::PullOut => "拉远",
            Self::PedestalUp => "上升",
            Self::PedestalDown => "下降",
            Self::TiltUp => "上摇",
            Self::TiltDown => "下摇",
            Self::ZoomIn => "变焦推近",
            Self::ZoomOut => "变焦拉远",
            Self::Shake => "晃动",
            Self::TrackingShot => "跟随",
            Self::StaticShot => "固定",
        }
    }

    /// The command of a name in either language, without regard to case, to how words are held apart (`push-in`, `Push  In`), or to a
    /// trailing `shot`.
    pub fn named(name: &str) -> Option<Self> {
        let words: Vec<String> = name
            .split(|character: char| character.is_whitespace() || "-_".contains(character))
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect();
        let words = match words.as_slice() {
            [rest @ .., shot] if shot == "shot" => rest.join(" "),
            all => all.join(" "),
        };
        Self::ALL.into_iter().find(|command| {
            let english = command.name().to_lowercase();
            words == english.trim_end_matches(" shot") || words == command.chinese_name()
        })
    }
}

impl Display for CameraCommand {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_name_all_of_them() {
        for command in CameraCommand::ALL {
            for name in
                [command.name(), command.chinese_name(), &command.name().to_uppercase(), &command.name().replace(' ', "-")]
            {
                assert_eq!(CameraCommand::named(name), Some(command), "{name}");
            }
        }
        for (name, command) in [
            ("static", CameraCommand::StaticShot),
            (" push   IN ", CameraCommand::PushIn),
            ("tracking", CameraCommand::TrackingShot),
        ] {
            assert_eq!(CameraCommand::named(name), Some(command));
        }
        for name in ["", "shot", "left", "pan", "pan up", "sic", "推", "zoom:1.2"] {
            assert_eq!(CameraCommand::named(name), None, "{name}");
        }
    }
}
