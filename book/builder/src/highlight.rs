//! Listings as HTML. Their colours are made here and not in the browser, so a page needs no
//! program for it, and is the same where scripts are off and on paper.

use std::fmt::Write as _;

use anyhow::Context;
use mdbook_core::utils::escape_html;
use syntect::easy::ScopeRegionIterator;
use syntect::parsing::{ParseState, Scope, ScopeStack, SyntaxSet};
use syntect::util::LinesWithEndings;

/// What the theme has a colour for: the class, and the beginnings of the scopes that have it.
/// Scopes are named as in Sublime Text's grammars.
const CLASSES: [(&str, &[&str]); 5] = [
    ("comment", &["comment"]),
    ("string", &["string"]),
    (
        "number",
        &[
            "constant.numeric",
            "constant.language",
            "variable.annotation",
        ],
    ),
    (
        "keyword",
        &[
            "keyword.control",
            "keyword.other",
            "storage",
            "variable.language",
        ],
    ),
    ("name", &["entity.name", "support", "variable.function"]),
];

/// Keywords that the grammar of Rust does not know.
const ASYNC: [&str; 2] = ["async", "await"];

/// Makes HTML of listings.
pub(crate) struct Highlighter {
    syntaxes: SyntaxSet,
    /// By the places of `CLASSES`.
    scopes: Vec<(&'static str, Scope)>,
}

impl Highlighter {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut scopes = Vec::new();
        for (class, names) in CLASSES {
            for name in names {
                scopes.push((class, Scope::new(name)?));
            }
        }
        Ok(Self {
            syntaxes: two_face::syntax::extra_newlines(),
            scopes,
        })
    }

    /// A listing in a language, which is named as its files end; `txt` has no colours.
    pub(crate) fn block(&self, language: &str, code: &str) -> anyhow::Result<String> {
        let syntax = self.syntaxes.find_syntax_by_extension(language);
        let syntax = syntax.with_context(|| format!("there is no grammar for `.{language}`"))?;
        let mut html = format!(r#"<pre><code class="hljs language-{language}">"#);
        let mut state = ParseState::new(syntax);
        let mut stack = ScopeStack::new();
        let code = format!("{code}\n");
        for line in LinesWithEndings::from(&code) {
            let operations = state.parse_line(line, &self.syntaxes)?;
            let mut open = None;
            for (text, operation) in ScopeRegionIterator::new(&operations, line) {
                stack.apply(operation)?;
                if text.is_empty() {
                    continue;
                }
                // White space has no colour, so it need not end one.
                let class = if text.trim().is_empty() {
                    open
                } else if language == "rs" && ASYNC.contains(&text.trim()) {
                    Some("keyword")
                } else {
                    self.class(&stack)
                };
                if class != open {
                    if open.is_some() {
                        html.push_str("</span>");
                    }
                    if let Some(class) = class {
                        let _ = write!(html, r#"<span class="hl-{class}">"#);
                    }
                    open = class;
                }
                html.push_str(&escape_html(text));
            }
            if open.is_some() {
                html.push_str("</span>");
            }
        }
        html.push_str("</code></pre>");
        Ok(html)
    }

    /// The class of the innermost scope that has one.
    fn class(&self, stack: &ScopeStack) -> Option<&'static str> {
        stack.as_slice().iter().rev().find_map(|scope| {
            let has = |(_, prefix): &&(&str, Scope)| prefix.is_prefix_of(*scope);
            self.scopes.iter().find(has).map(|(class, _)| *class)
        })
    }
}
