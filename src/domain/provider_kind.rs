//! Kinds of providers, and what can be said of each.

/// Keys of one kind that the environment may number.
const MOST_NUMBERED_KEYS: usize = 100;

/// Kinds of providers: each is a way to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProviderKind {
    /// Aliyun's DashScope.
    Aliyun,
    /// Zhipu's platform.
    Zhipuai,
    /// MiniMax.
    Minimax,
    /// One that a file declares.
    Declared,
    /// Any service that speaks OpenAI's dialect.
    Openai,
    /// MindVideo.
    Mindvideo,
    /// vidsme.
    Vidsme,
    /// Kling.
    Kling,
    /// Runway.
    Runway,
    /// Google's Veo.
    Veo,
    /// Stability.
    Stability,
    /// Replicate.
    Replicate,
    /// fal.
    Fal,
}

/// A setting that only some kinds have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindSetting {
    /// Its key in the file.
    pub name: &'static str,
    /// The words that it may be; empty where it is a text of the operator's.
    pub words: &'static [&'static str],
    /// Whether it is a secret.
    pub is_secret: bool,
    /// Whether a provider cannot be used without it.
    pub is_needed: bool,
    /// Whether a key may bring it along, before a dot: several accounts need one each.
    pub may_be_in_keys: bool,
    /// The variable of the environment that holds it, where the file does not.
    pub variable: Option<&'static str>,
}

const fn text(name: &'static str) -> KindSetting {
    KindSetting { name, words: &[], is_secret: false, is_needed: false, may_be_in_keys: false, variable: None }
}

const fn word(name: &'static str, words: &'static [&'static str]) -> KindSetting {
    KindSetting { words, ..text(name) }
}

const fn needed(name: &'static str, variable: &'static str) -> KindSetting {
    KindSetting { is_needed: true, variable: Some(variable), ..text(name) }
}

const fn secret(name: &'static str, variable: &'static str) -> KindSetting {
    KindSetting { is_secret: true, ..needed(name, variable) }
}

impl ProviderKind {
    /// All of them. A new one is a row here and in the functions below, and an arm where accounts are opened.
    pub const ALL: [Self; 13] = [
        Self::Aliyun,
        Self::Zhipuai,
        Self::Minimax,
        Self::Declared,
        Self::Openai,
        Self::Mindvideo,
        Self::Vidsme,
        Self::Kling,
        Self::Runway,
        Self::Veo,
        Self::Stability,
        Self::Replicate,
        Self::Fal,
    ];

    /// The word in the file; a provider of this name is of this kind unless it says otherwise.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aliyun => "aliyun",
            Self::Zhipuai => "zhipuai",
            Self::Minimax => "minimax",
            Self::Declared => "declared",
            Self::Openai => "openai",
            Self::Mindvideo => "mindvideo",
            Self::Vidsme => "vidsme",
            Self::Kling => "kling",
            Self::Runway => "runway",
            Self::Veo => "veo",
            Self::Stability => "stability",
            Self::Replicate => "replicate",
            Self::Fal => "fal",
        }
    }

    /// The settings that this kind has beside those that all have.
    pub const fn settings(self) -> &'static [KindSetting] {
        const SITE: KindSetting = word("site", &["china", "international"]);
        const ALIYUN: &[KindSetting] = &[word("region", &["beijing", "singapore", "virginia"]), text("workspace")];
        const ZHIPUAI: &[KindSetting] = &[SITE, word("authentication", &["key", "signed_token"])];
        const MINIMAX: &[KindSetting] = &[SITE, text("group_id")];
        const DECLARED: &[KindSetting] = &[KindSetting { is_needed: true, ..text("declaration") }];
        const OPENAI: &[KindSetting] = &[text("organization"), text("project")];
        const MINDVIDEO: &[KindSetting] = &[
            secret("app_key", "MINDVIDEO_APP_KEY"),
            text("language"),
            text("version"),
            word("visibility", &["private", "public"]),
        ];
        const VIDSME: &[KindSetting] = &[
            needed("app_id", "VIDSME_APP_ID"),
            secret("salt", "VIDSME_SALT"),
            needed("public_key", "VIDSME_PUBLIC_KEY"),
            text("pictures_url"),
        ];
        const KLING: &[KindSetting] = &[SITE, KindSetting { may_be_in_keys: true, ..needed("access_key", "KLING_ACCESS_KEY") }];
        match self {
            Self::Aliyun => ALIYUN,
            Self::Zhipuai => ZHIPUAI,
            Self::Minimax => MINIMAX,
            Self::Declared => DECLARED,
            Self::Openai => OPENAI,
            Self::Mindvideo => MINDVIDEO,
            Self::Vidsme => VIDSME,
            Self::Kling => KLING,
            Self::Runway | Self::Veo | Self::Stability | Self::Replicate | Self::Fal => &[],
        }
    }

    /// What can be said of a model of this kind, beside its name.
    pub const fn model_settings(self) -> &'static [&'static str] {
        match self {
            Self::Openai => &["kinds", "response_format"],
            Self::Mindvideo => &["bot"],
            Self::Vidsme => &["wire_name"],
            Self::Replicate | Self::Fal => {
                &["kinds", "inputs", "fixed", "tiers", "ratios", "seconds", "most_results", "most_references", "results"]
            }
            _ => &[],
        }
    }

    /// Whether keys are enough: a provider of which there are keys is used without a word in the file.
    pub const fn is_enabled_by_keys(self) -> bool {
        matches!(self, Self::Aliyun | Self::Zhipuai | Self::Minimax)
    }

    /// Whether a provider that the file names is used unless it says otherwise. Two have no public API, and their terms may forbid it.
    pub const fn is_enabled_by_file(self) -> bool {
        !matches!(self, Self::Mindvideo | Self::Vidsme)
    }

    /// The variable of the environment that holds its key, where the file names none. Behind one that ends in `_1` there may be `_2` and on.
    pub const fn key_variable(self) -> Option<&'static str> {
        match self {
            Self::Aliyun => Some("ALIYUN_API_KEY"),
            Self::Zhipuai => Some("ZHIPUAI_API_KEY"),
            Self::Minimax => Some("MINIMAX_API_KEY"),
            Self::Declared => None,
            Self::Openai => Some("OPENAI_API_KEY"),
            Self::Mindvideo => Some("MINDVIDEO_AUTH_TOKEN_1"),
            Self::Vidsme => Some("USER_ID"),
            Self::Kling => Some("KLING_SECRET_KEY"),
            Self::Runway => Some("RUNWAYML_API_SECRET"),
            Self::Veo => Some("GEMINI_API_KEY"),
            Self::Stability => Some("STABILITY_API_KEY"),
            Self::Replicate => Some("REPLICATE_API_TOKEN"),
            Self::Fal => Some("FAL_KEY"),
        }
    }

    /// The variables of the environment that hold its keys: the one, or as many as are numbered.
    pub fn key_variables(self) -> Vec<String> {
        let Some(name) = self.key_variable() else { return Vec::new() };
        match name.strip_suffix("_1") {
            Some(stem) => (1..=MOST_NUMBERED_KEYS).map(|number| format!("{stem}_{number}")).collect(),
            None => vec![name.to_owned()],
        }
    }

    /// The variable of the environment that names its address, as its own tools have it, where the file names none.
    pub const fn address_variable(self) -> Option<&'static str> {
        match self {
            Self::Aliyun => Some("DASHSCOPE_HTTP_BASE_URL"),
            Self::Zhipuai => Some("ZHIPUAI_BASE_URL"),
            Self::Minimax => Some("MINIMAX_API_HOST"),
            Self::Openai => Some("OPENAI_BASE_URL"),
            _ => None,
        }
    }
}
