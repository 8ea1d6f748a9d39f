//! `callbacks:` — in whose words callbacks speak.

use serde::Deserialize;

use crate::domain::MinimaxWords;

/// How callbacks speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallbacksConfig {
    /// The states of tasks in callbacks in MiniMax's words.
    pub minimax_status: MinimaxWords,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn words_are_the_querys_unless_told_otherwise() {
        let parse = |text: &str| crate::config::parse_yaml::<CallbacksConfig>(Path::new("c.yaml"), text);
        assert_eq!(parse("{}").unwrap().minimax_status, MinimaxWords::Query);
        assert_eq!(parse("minimax_status: query").unwrap().minimax_status, MinimaxWords::Query);
        assert_eq!(parse("minimax_status: lower_case").unwrap().minimax_status, MinimaxWords::LowerCase);
        let refused = parse("minimax_status: UPPER").unwrap_err().to_string();
        assert!(refused.contains("lower_case") && refused.contains("c.yaml:1"), "{refused}");
    }
}
