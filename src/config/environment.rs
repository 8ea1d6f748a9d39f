//! The environment, and the `.env` file. The only place that reads either; everything else is handed values.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::providers::Variables;
use super::{ConfigError, Notice};

/// Every `FRAMEWRIGHT_` variable there is.
const OWN: [&str; 4] = ["FRAMEWRIGHT_DEVICE", "FRAMEWRIGHT_PRECISION", "FRAMEWRIGHT_CPU_KERNELS", "FRAMEWRIGHT_LOG"];
/// Read by nothing here: other systems of this kind need them, and shared `.env` files have them.
const IGNORED: [&str; 2] = ["REDIS_URL", "MONGODB_URL"];
/// For downloads.
const DOWNLOADS: [&str; 1] = ["HF_TOKEN"];

/// What the environment says.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `DATABASE_URL`.
    pub database_url: Option<SecretString>,
    /// `SECRET_KEY`: signs links.
    pub secret_key: Option<SecretString>,
    /// `API_MASTER_KEY`, else `API_KEY`: the administrator's key.
    pub master_key: Option<SecretString>,
    /// `FRAMEWRIGHT_DEVICE`: `cpu`, `cuda:0`, `cuda:0,cuda:1`.
    pub device: Option<String>,
    /// `FRAMEWRIGHT_PRECISION`: `f32` or `bf16`.
    pub precision: Option<String>,
    /// `FRAMEWRIGHT_CPU_KERNELS`: `amxbf16`, `avx512bf16`, `avx512` or `gemm`.
    pub cpu_kernels: Option<String>,
    /// `FRAMEWRIGHT_LOG`: a log filter.
    pub log: Option<String>,
    /// `XDG_CACHE_HOME`, else `$HOME/.cache`: where `generate` unpacks the bundled model when there is no data directory.
    pub cache_home: Option<PathBuf>,
    /// The others, for providers' keys.
    pub variables: Variables,
    /// What is set without effect.
    pub notices: Vec<Notice>,
}

impl Environment {
    /// The process's environment over the `.env` file of the current directory.
    pub fn read() -> Result<Self, ConfigError> {
        Self::over_file(process_variables(), Path::new(".env"))
    }

    /// `variables` over the file: a variable that is set, even to nothing, hides the file's.
    fn over_file(variables: BTreeMap<String, String>, file: &Path) -> Result<Self, ConfigError> {
        let mut all = read_dot_env(file)?;
        all.extend(variables);
        Ok(Self::from_variables(all))
    }

    /// Empty values are absent ones.
    fn from_variables(mut variables: BTreeMap<String, String>) -> Self {
        variables.retain(|_, value| !value.trim().is_empty());
        let notices = notices(&variables);
        let mut take = |name: &str| variables.remove(name);
        let home_cache = take("HOME").map(|home| Path::new(&home).join(".cache"));
        let (master_key, key) = (take("API_MASTER_KEY"), take("API_KEY"));
        let read = Self {
            database_url: take("DATABASE_URL").map(SecretString::from),
            secret_key: take("SECRET_KEY").map(SecretString::from),
            master_key: master_key.or(key).map(|key| SecretString::from(key.trim())),
            device: take("FRAMEWRIGHT_DEVICE"),
            precision: take("FRAMEWRIGHT_PRECISION"),
            cpu_kernels: take("FRAMEWRIGHT_CPU_KERNELS"),
            log: take("FRAMEWRIGHT_LOG"),
            cache_home: take("XDG_CACHE_HOME").map(PathBuf::from).or(home_cache),
            variables: Variables::default(),
            notices,
        };
        Self { variables: Variables::new(variables), ..read }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn process_variables() -> BTreeMap<String, String> {
    // A variable whose name or value is not UTF-8 is none of ours.
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

fn read_dot_env(file: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let entries = match dotenvy::from_path_iter(file) {
        Ok(entries) => entries,
        Err(dotenvy::Error::Io(error)) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(ConfigError::DotEnv(without_values(&error))),
    };
    entries.collect::<Result<_, _>>().map_err(|error| ConfigError::DotEnv(without_values(&error)))
}

/// A line of `.env` holds a secret as likely as not, so errors say where, not what.
fn without_values(error: &dotenvy::Error) -> String {
    match error {
        dotenvy::Error::LineParse(line, position) => {
            let name = line.split('=').next().unwrap_or_default().trim();
            format!("the line of '{name}' cannot be read (at character {position}); write NAME=value, quoted if it has spaces")
        }
        other => other.to_string(),
    }
}

fn notices(variables: &BTreeMap<String, String>) -> Vec<Notice> {
    let set = |names: &[&str]| names.iter().filter(|name| variables.contains_key(**name)).copied().collect::<Vec<_>>().join(", ");
    let mut notices = Vec::new();
    if let (Some(master_key), Some(key)) = (variables.get("API_MASTER_KEY"), variables.get("API_KEY"))
        && master_key != key
    {
        notices.push(Notice::warning("API_KEY: ignored, because API_MASTER_KEY is set to another key"));
    }
    let ignored = set(&IGNORED);
    if !ignored.is_empty() {
        notices.push(Notice::info(format!("{ignored}: accepted and ignored; nothing here needs it")));
    }
    let downloads = set(&DOWNLOADS);
    if !downloads.is_empty() {
        notices.push(Notice::info(format!("{downloads}: accepted; this version downloads nothing")));
    }
    for name in variables.keys().filter(|name| name.starts_with("FRAMEWRIGHT_") && !OWN.contains(&name.as_str())) {
        notices.push(Notice::warning(format!("{name}: no such setting, ignored; there are {}", OWN.join(", "))));
    }
    notices
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_process_goes_before_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(".env");
        std::fs::write(&file, "SECRET_KEY='from file'\nFRAMEWRIGHT_DEVICE=cuda:3\n# comment\nexport API_KEY=k\n").unwrap();
        let read = Environment::over_file(variables(&[("FRAMEWRIGHT_DEVICE", "cpu"), ("DATABASE_URL", "  ")]), &file).unwrap();
        assert_eq!(read.device.as_deref(), Some("cpu"));
        assert_eq!(read.secret_key.unwrap().expose_secret(), "from file");
        assert!(read.master_key.is_some());
        assert!(read.database_url.is_none(), "blank is absent");
    }

    #[test]
    fn a_broken_file_is_named_without_its_values() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(".env");
        std::fs::write(&file, "SECRET_KEY=\"hunter2 hunter3\n").unwrap();
        let message = Environment::over_file(BTreeMap::new(), &file).unwrap_err().to_string();
        assert!(message.contains("SECRET_KEY") && !message.contains("hunter"), "{message}");
    }

    #[test]
    fn no_file_is_fine_and_foreign_settings_are_mentioned_once() {
        let read = Environment::over_file(
            variables(&[
                ("REDIS_URL", "redis://a"),
                ("MONGODB_URL", "b"),
                ("FRAMEWRIGHT_DEVISE", "cpu"),
                ("HF_TOKEN", "s3cret"),
                ("VIDSME_SALT", "s3cret"),
                ("MINIMAX_API_KEY", "s3cret"),
            ]),
            Path::new("/nonexistent/.env"),
        )
        .unwrap();
        let text: Vec<String> = read.notices.iter().map(|notice| notice.text.clone()).collect();
        assert_eq!(text.len(), 3, "{text:?}");
        assert!(text[0].contains("REDIS_URL, MONGODB_URL") && text[2].contains("FRAMEWRIGHT_DEVISE"), "{text:?}");
        assert!(!text.join(" ").contains("s3cret") && !text.join(" ").contains("MINIMAX"), "{text:?}");
        assert!(!text.join(" ").contains("VIDSME"), "{text:?}");
        assert!(!format!("{read:?}").contains("s3cret"), "{read:?}");
    }

    #[test]
    fn every_variable_of_the_example_is_read_or_mentioned() {
        let example = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".env.example")).unwrap();
        let uncommented: Vec<String> = example
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .filter(|line| line.split_once('=').is_some_and(|(name, _)| !name.contains(' ')))
            .map(|line| if line.ends_with('=') { format!("{line}x") } else { line.to_owned() })
            .collect();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(".env");
        std::fs::write(&file, uncommented.join("\n")).unwrap();
        let read = Environment::over_file(BTreeMap::new(), &file).unwrap();
        assert!(read.database_url.is_some() && read.secret_key.is_some() && read.master_key.is_some());
        assert!(read.device.is_some() && read.precision.is_some() && read.cpu_kernels.is_some() && read.log.is_some());
        let notices: Vec<&str> = read.notices.iter().map(|notice| notice.text.as_str()).collect();
        for name in IGNORED.iter().chain(&DOWNLOADS) {
            assert!(notices.iter().any(|notice| notice.contains(name)), "{name}: {notices:?}");
        }
        assert!(!notices.join(" ").contains("no such setting"), "{notices:?}");
    }
}
