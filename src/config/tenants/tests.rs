//! Directories as people leave them.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::domain::{Limits, Quotas, TenantPolicy};

struct Place(TempDir);

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            place.write(name, text);
        }
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path().join(name)).unwrap();
    }

    fn load(&self) -> Result<TenantPolicies, String> {
        load(self.path()).map_err(|error| error.to_string().replace(&format!("{}/", self.path().display()), ""))
    }
}

fn user(policies: &TenantPolicies, name: &str) -> TenantPolicy {
    policies.user(&name.parse().unwrap()).clone()
}

#[test]
fn the_published_files_are_taken_as_they_stand() {
    let place = Place::new(&[
        (
            "users/anna.yaml",
            "quotas: { images_per_day: 100, videos_per_day: 10, max_resolution: \"1920x1080\" }\n\
             limits: { max_duration: 60, max_frames: 1440 }\n",
        ),
        (
            "projects/film.yaml",
            "character_profiles: \"character_profiles.yaml\"\nscene_profiles: \"scene_profiles.yaml\"\nstyle: \"xianxia\"\n\
             default_engine: \"instantid\"\n",
        ),
        ("projects/character_profiles.yaml", "hero: { prompt: a hero }\n"),
        ("projects/scene_profiles.yaml", "dawn: { prompt: dawn }\n"),
    ]);
    let policies = place.load().unwrap();
    let anna = TenantPolicy {
        quotas: Quotas {
            images_per_day: Some(100),
            videos_per_day: Some(10),
            max_resolution: Some((1920, 1080)),
            ..Quotas::default()
        },
        limits: Limits { max_duration_seconds: Some(60.0), max_frames: Some(1440), ..Limits::default() },
    };
    assert_eq!(user(&policies, "anna"), anna);
    assert_eq!(user(&policies, "ben"), TenantPolicy::default());
    let film = ProjectPolicy {
        policy: TenantPolicy::default(),
        style: Some("xianxia".to_owned()),
        default_engine: Some("instantid".to_owned()),
        character_profiles: Some("character_profiles.yaml".to_owned()),
        scene_profiles: Some("scene_profiles.yaml".to_owned()),
    };
    assert_eq!(policies.projects, BTreeMap::from([("film".parse().unwrap(), film)]));
    let notices: Vec<String> = notices(&policies).into_iter().map(|notice| notice.text).collect();
    assert_eq!(notices.len(), 3, "{notices:?}");
    assert!(notices[0].starts_with("projects/*.yaml: style: has no effect yet"), "{notices:?}");
}

#[test]
fn every_other_key_is_taken_too() {
    let text = "quotas: { gpu_seconds_per_day: 3600, video_seconds_per_day: 90, cost_per_month: 12.5, storage_gb: 0.5, max_resolution: 768x1024 }\n\
                limits: { max_concurrent_jobs: 2, requests_per_minute: 30, priority: -10, weight: 2.5, models: [demo-sdxl], providers: [local] }\n";
    let place = Place::new(&[("users/default.yaml", text), ("users/ben.yaml", ""), ("projects/film.yaml", text)]);
    let policies = place.load().unwrap();
    let expected = TenantPolicy {
        quotas: Quotas {
            gpu_seconds_per_day: Some(3600),
            video_seconds_per_day: Some(90),
            cost_micros_per_month: Some(12_500_000),
            storage_bytes: Some(500_000_000),
            max_resolution: Some((1024, 768)),
            ..Quotas::default()
        },
        limits: Limits {
            max_concurrent_jobs: Some(2),
            requests_per_minute: Some(30),
            priority: -10,
            weight: Some(2.5),
            models: Some(BTreeSet::from(["demo-sdxl".parse().unwrap()])),
            providers: Some(BTreeSet::from(["local".to_owned()])),
            ..Limits::default()
        },
    };
    assert_eq!(user(&policies, "whoever"), expected);
    assert_eq!(policies.projects[&"film".parse().unwrap()].policy, expected);
    assert_eq!(user(&policies, "ben"), TenantPolicy::default(), "a file of one's own replaces the default");
    assert!(!policies.users.contains_key(&"default".parse().unwrap()));
}

#[test]
fn nothing_is_fine_and_other_files_are_passed_over() {
    let place = Place::new(&[]);
    assert_eq!(place.load().unwrap(), TenantPolicies::default());
    for name in ["users/README.md", "users/anna.yaml~", "users/.anna.yaml.swp", "users/.hidden.yaml", "users/old/carl.yaml"] {
        place.write(name, "not: [yaml");
    }
    assert_eq!(place.load().unwrap(), TenantPolicies::default());
}

#[test]
fn broken_files_are_named_with_their_place() {
    let lines: Vec<String> = [
        ("users/anna.yaml", "quotas:\n  images_per_day: many\n"),
        ("users/anna.yaml", "quotas:\n  images_per_day: -1\n"),
        ("users/anna.yaml", "quotas:\n  images_per_day: 1.5\n"),
        ("users/anna.yaml", "quotas:\n  images_per_day: 99999999999999999999\n"),
        ("users/anna.yaml", "quotas:\n  images_per_dya: 5\n"),
        ("users/anna.yaml", "quota: {}\n"),
        ("users/anna.yaml", "quotas: { images_per_day: 5, images_per_day: 6 }\n"),
        ("users/anna.yaml", "quotas: { max_resolution: 1080p }\n"),
        ("users/anna.yaml", "quotas: { max_resolution: 0x0 }\n"),
        ("users/anna.yaml", "quotas:\n  storage_gb: .nan\n"),
        ("users/anna.yaml", "quotas:\n  cost_per_month: -3\n"),
        ("users/anna.yaml", "limits:\n  requests_per_minute: 0\n"),
        ("users/anna.yaml", "limits:\n  max_concurrent_jobs: 0\n"),
        ("users/anna.yaml", "limits:\n  max_duration: 0\n"),
        ("users/anna.yaml", "limits:\n  priority: 1000\n"),
        ("users/anna.yaml", "limits:\n  weight: 0\n"),
        ("users/anna.yaml", "limits:\n  models: ['../etc/passwd']\n"),
        ("users/anna.yaml", "limits:\n  models: demo-sdxl\n"),
        ("users/anna.yaml", "limits:\n  providers: ['a b']\n"),
        ("users/anna.yaml", "quotas: 5\n"),
        ("users/anna.yaml", "quotas: [\n"),
        ("users/anna.yaml", "limits: { priority: '5' }\n"),
        ("users/anna.yaml", "quotas: {}\n\tlimits: {}\n"),
        ("users/anna.yaml", "just a text\n"),
        ("users/an na.yaml", ""),
        ("users/-rf.yaml", ""),
        ("users/anna.yml", ""),
        ("users/Ben.YAML", ""),
        ("projects/film.yaml", "style: ../../styles\n"),
        ("projects/film.yaml", "character_profiles: /etc/passwd.yaml\n"),
        ("projects/film.yaml", "scene_profiles: ../users/anna.yaml\n"),
        ("projects/film.yaml", "scene_profiles: scenes.txt\n"),
        ("projects/film.yaml", "defaultengine: demo\n"),
        ("projects/film.yaml/x", ""),
    ]
    .into_iter()
    .map(|(name, text)| {
        let error = Place::new(&[(name, text)]).load().map(|_| "taken").map_or_else(|error| error, ToOwned::to_owned);
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    })
    .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    users/anna.yaml:2:19: images_per_day: must be a whole number of 0 to 1000000000000
    users/anna.yaml:2:19: images_per_day: must be a whole number of 0 to 1000000000000
    users/anna.yaml:2:19: images_per_day: must be a whole number of 0 to 1000000000000
    users/anna.yaml:2:19: images_per_day: must be a whole number of 0 to 1000000000000
    users/anna.yaml:2:3: unknown field `images_per_dya`, expected one of images_per_day, videos_per_day, max_resolution, gpu_seconds_per_day, video_seconds_per_day, cost_per_month, storage_gb
    users/anna.yaml:1:1: unknown field `quota`, expected one of quotas, limits
    users/anna.yaml:1:30: duplicate mapping key: images_per_day not allowed here
    users/anna.yaml:1:27: max_resolution: must be written as "1920x1080": pixels of one side, x, pixels of the other
    users/anna.yaml:1:27: max_resolution: must be written as "1920x1080": pixels of one side, x, pixels of the other
    users/anna.yaml:2:15: storage_gb: must be a number of 0 to 1000000000
    users/anna.yaml:2:19: cost_per_month: must be a number of 0 to 1000000000
    users/anna.yaml:2:24: requests_per_minute: must be a whole number of 1 to 1000000
    users/anna.yaml:2:24: max_concurrent_jobs: must be a whole number of 1 to 1000000
    users/anna.yaml:2:17: max_duration: must be above 0 and at most 1000000000
    users/anna.yaml:2:13: priority: must be a whole number of -100 to 100
    users/anna.yaml:2:11: weight: must be a number of 0.01 to 100
    users/anna.yaml:2:12: model '../etc/passwd' must be 1 to 128 letters, digits, '.', '_', '-' or '@', beginning with a letter or digit
    users/anna.yaml:2:11: models: must be a list, such as [a, b]
    users/anna.yaml:2:15: providers: must be a name of 1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit
    users/anna.yaml:1:9: quotas: must be keys with values, such as { key: value }
    users/anna.yaml:1:9: quotas: must be keys with values, such as { key: value }
    users/anna.yaml:1:21: priority: must be a whole number of -100 to 100
    users/anna.yaml:2:2: tabs disallowed within this context (block indentation)
    users/anna.yaml:1:1: must be keys with values, such as { key: value }
    users/an na.yaml: user 'an na' must be 1 to 128 letters, digits, '.', '_', '-' or '@', beginning with a letter or digit
    users/-rf.yaml: user '-rf' must be 1 to 128 letters, digits, '.', '_', '-' or '@', beginning with a letter or digit
    users/anna.yml: rename it: its name must end in .yaml
    users/Ben.YAML: rename it: its name must end in .yaml
    projects/film.yaml:1:8: style: must be a name of 1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit
    projects/film.yaml:1:21: character_profiles: must be a .yaml file beside or below the project's file, such as character_profiles.yaml
    projects/film.yaml:1:17: scene_profiles: must be a .yaml file beside or below the project's file, such as character_profiles.yaml
    projects/film.yaml:1:17: scene_profiles: must be a .yaml file beside or below the project's file, such as character_profiles.yaml
    projects/film.yaml:1:1: unknown field `defaultengine`, expected one of character_profiles, scene_profiles, style, default_engine, quotas, limits
    projects/film.yaml: is not a file
    "#);
}

#[rstest::rstest]
#[case::another("b.yaml", "quotas: { images_per_day: 5 }\n")]
#[case::an_empty_one("b.yaml", "")]
#[case::itself("a.yaml", "")]
fn a_project_cannot_name_another_away(#[case] named: &str, #[case] other: &str) {
    for setting in ["character_profiles", "scene_profiles"] {
        let place = Place::new(&[("projects/a.yaml", &format!("{setting}: {named}\n")), ("projects/b.yaml", other)]);
        let expected = format!(
            "projects/a.yaml: {setting}: {named} is a project's own; put profiles into a directory of their own, such as \
             profiles/characters.yaml"
        );
        assert_eq!(place.load().unwrap_err(), expected);
    }
    let place = Place::new(&[("projects/a.yaml", "scene_profiles: profiles/b.yaml\n"), ("projects/profiles/b.yaml", "")]);
    assert_eq!(place.load().unwrap().projects.len(), 1);
}

#[test]
fn files_are_bounded_and_regular() {
    let place = Place::new(&[("users/anna.yaml", &format!("# {}\n", "x".repeat(64 * 1024)))]);
    assert_eq!(place.load().unwrap_err(), "users/anna.yaml: has more than 65536 bytes");
    place.remove("users/anna.yaml");
    place.write("users/anna.yaml", &format!("quotas: &a {{}}\nlimits: [{}]\n", "*a,".repeat(20_000)));
    assert!(place.load().unwrap_err().starts_with("users/anna.yaml:"), "aliases");
    place.write("users/anna.yaml", &"[".repeat(60_000));
    assert!(place.load().unwrap_err().starts_with("users/anna.yaml:"), "nesting");
    fs::write(place.path().join("users/anna.yaml"), b"quotas: \xff").unwrap();
    assert!(place.load().unwrap_err().starts_with("users/anna.yaml: cannot be read: "), "not UTF-8");
}

#[cfg(unix)]
#[test]
fn a_pipe_does_not_hold_the_server_up_and_links_are_followed() {
    let place = Place::new(&[("elsewhere/policy", "quotas: { images_per_day: 7 }\n")]);
    fs::create_dir(place.path().join("users")).unwrap();
    std::os::unix::fs::symlink("../elsewhere/policy", place.path().join("users/anna.yaml")).unwrap();
    assert_eq!(user(&place.load().unwrap(), "anna").quotas.images_per_day, Some(7));
    std::os::unix::fs::symlink("/dev/zero", place.path().join("users/ben.yaml")).unwrap();
    assert_eq!(place.load().unwrap_err(), "users/ben.yaml: is not a file");
    place.remove("users/ben.yaml");
    std::os::unix::fs::symlink("nowhere", place.path().join("users/ben.yaml")).unwrap();
    assert!(place.load().unwrap_err().starts_with("users/ben.yaml: cannot be read: "));
}

/// Looks until a change is taken or the files have settled.
fn settle(files: &mut TenantFiles) -> Option<Change> {
    files.changed().or_else(|| files.changed())
}

fn images(files: &mut TenantFiles) -> Option<u64> {
    match settle(files) {
        Some(Change::Policies { policies, .. }) => user(&policies, "anna").quotas.images_per_day,
        other => panic!("{other:?}"),
    }
}

#[test]
fn changes_are_taken_once_and_only_when_they_are_whole() {
    let place = Place::new(&[("users/anna.yaml", "quotas: { images_per_day: 5 }\n")]);
    let (mut files, policies) = TenantFiles::open(Some(place.path())).unwrap();
    assert_eq!(user(&policies, "anna").quotas.images_per_day, Some(5));
    assert!(settle(&mut files).is_none());

    place.write("users/anna.yaml", "");
    assert!(files.changed().is_none(), "a file that was just written may be half written");
    place.write("users/anna.yaml", "quotas: { images_per_day: 60 }\n");
    assert!(files.changed().is_none(), "it was written again");
    assert_eq!(images(&mut files), Some(60));
    assert!(settle(&mut files).is_none(), "once");

    place.write("users/default.yaml", "quotas: { images_per_day: 1 }\n");
    assert_eq!(images(&mut files), Some(60));
    place.remove("users/anna.yaml");
    assert_eq!(images(&mut files), Some(1), "an added and a removed file are changes");
    place.remove("users/default.yaml");
    assert_eq!(images(&mut files), None);
}

#[test]
fn a_directory_that_vanishes_takes_no_limits_away() {
    let place = Place::new(&[("users/anna.yaml", "quotas: { images_per_day: 5 }\n")]);
    let (mut files, _) = TenantFiles::open(Some(place.path())).unwrap();
    // What was never there is not missed, and may come.
    fs::create_dir(place.path().join("projects")).unwrap();
    assert_eq!(images(&mut files), Some(5));
    for gone in ["users", "projects"] {
        let (from, to) = (place.path().join(gone), place.path().join("elsewhere"));
        fs::rename(&from, &to).unwrap();
        match settle(&mut files) {
            Some(Change::Broken(error)) => {
                let message = error.to_string();
                assert!(message.starts_with(&format!("{}: is not there any more; ", from.display())), "{message}");
            }
            other => panic!("{other:?}"),
        }
        assert!(files.changed().is_none(), "said once");
        fs::rename(to, from).unwrap();
        assert!(matches!(settle(&mut files), Some(Change::Policies { mended: true, .. })), "{gone} is back");
    }
    // Nor do both at once, as when the whole directory is on a disk that goes.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(place.path(), elsewhere.path().join("all")).unwrap();
    assert!(matches!(settle(&mut files), Some(Change::Broken(_))));
    fs::rename(elsewhere.path().join("all"), place.path()).unwrap();
    assert!(matches!(settle(&mut files), Some(Change::Policies { mended: true, .. })));
}

#[test]
fn a_file_that_took_anothers_place_is_a_change_at_the_same_size_and_time() {
    let place = Place::new(&[("users/anna.yaml", "quotas: { images_per_day: 5 }\n")]);
    let path = place.path().join("users/anna.yaml");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let (mut files, _) = TenantFiles::open(Some(place.path())).unwrap();
    place.write("users/.next", "quotas: { images_per_day: 6 }\n");
    let next = place.path().join("users/.next");
    fs::File::options().write(true).open(&next).unwrap().set_modified(modified).unwrap();
    fs::rename(next, path).unwrap();
    assert_eq!(images(&mut files), Some(6));
}

#[test]
fn a_broken_file_is_said_once_and_again_when_it_is_mended() {
    let place = Place::new(&[("users/anna.yaml", "quotas: { images_per_day: 5 }\n")]);
    let (mut files, _) = TenantFiles::open(Some(place.path())).unwrap();
    let broken = |files: &mut TenantFiles| match settle(files) {
        Some(Change::Broken(error)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    place.write("users/anna.yaml", "quotas:\n  images_per_day: many\n");
    assert!(broken(&mut files).contains("users/anna.yaml:2:19: "));
    for _ in 0..3 {
        assert!(files.changed().is_none(), "said once");
    }
    place.write("users/ben.yaml", "limits: { priority: 1 }\n");
    assert!(settle(&mut files).is_none(), "another file, and the same fault as before");
    place.write("users/anna.yaml", "quotas: [\n");
    assert!(broken(&mut files).contains("users/anna.yaml"), "another fault");
    place.write("users/anna.yaml", "quotas: { images_per_day: 6 }\n");
    match settle(&mut files) {
        Some(Change::Policies { policies, mended: true }) => {
            assert_eq!(user(&policies, "anna").quotas.images_per_day, Some(6));
            assert_eq!(user(&policies, "ben").limits.priority, 1);
        }
        other => panic!("{other:?}"),
    }
    assert!(settle(&mut files).is_none());
    place.write("users/anna.yaml", "quotas: { images_per_day: 7 }\n");
    assert!(matches!(settle(&mut files), Some(Change::Policies { mended: false, .. })));
}

#[test]
fn a_broken_file_stops_the_start_and_no_directory_has_no_files() {
    let place = Place::new(&[("users/anna.yaml", "quotas: 5\n")]);
    assert!(TenantFiles::open(Some(place.path())).unwrap_err().to_string().contains("users/anna.yaml:1:"));
    let (mut files, policies) = TenantFiles::open(None).unwrap();
    assert_eq!(policies, TenantPolicies::default());
    assert!(files.changed().is_none());
}
