//! Links: each that stays in the book must lead somewhere, on the pages as they were built.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use html5ever::buffer_queue::BufferQueue;
use html5ever::tokenizer::{Token, TokenSink, TokenSinkResult, Tokenizer};

/// What a page names and what it leads to.
#[derive(Default)]
struct Page {
    ids: RefCell<BTreeSet<String>>,
    targets: RefCell<BTreeSet<String>>,
}

impl TokenSink for Page {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        if let Token::TagToken(tag) = token {
            for attribute in tag.attrs {
                let value = attribute.value.to_string();
                match &*attribute.name.local {
                    "id" => self.ids.borrow_mut().insert(value),
                    "href" | "src" => self.targets.borrow_mut().insert(value),
                    _ => continue,
                };
            }
        }
        TokenSinkResult::Continue
    }
}

/// The links that lead nowhere, on the pages in a folder.
pub(crate) fn dead(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut pages = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "html")
            {
                let page = parse(&path)?;
                pages.insert(path, page);
            }
        }
    }
    let mut dead = Vec::new();
    for (path, page) in &pages {
        for target in page.targets.borrow().iter() {
            if let Some(why) = why_dead(&pages, folder, path, target) {
                let path = path.strip_prefix(folder).unwrap_or(path).display();
                dead.push(format!("{path} links to {target}: {why}"));
            }
        }
    }
    Ok(dead)
}

fn parse(path: &Path) -> anyhow::Result<Page> {
    let html =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let input = BufferQueue::default();
    input.push_back(html.as_str().into());
    let tokenizer = Tokenizer::new(Page::default(), Default::default());
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    Ok(tokenizer.sink)
}

fn why_dead(
    pages: &BTreeMap<PathBuf, Page>,
    folder: &Path,
    from: &Path,
    target: &str,
) -> Option<String> {
    if target.contains(':') {
        return None; // Another host's.
    }
    let (file, id) = target.split_once('#').unwrap_or((target, ""));
    let path = match (file, from.parent()) {
        ("", _) => from.to_owned(),
        (file, Some(parent)) => resolve(parent, file),
        (_, None) => return None,
    };
    if !path.starts_with(folder) || !path.is_file() {
        return Some("there is no such file in the book".to_owned());
    }
    let page = pages.get(&path)?;
    let is_there = id.is_empty() || page.ids.borrow().contains(id);
    (!is_there).then(|| format!("that page has nothing of the id `{id}`"))
}

/// A relative path, without its `..`.
fn resolve(folder: &Path, file: &str) -> PathBuf {
    let mut path = folder.to_owned();
    for part in file.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                path.pop();
            }
            part => path.push(part),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, html: &str| fs::write(folder.path().join(name), html).unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        write("sub/b.html", "<h1 id=top></h1><a href='../a.html#x'>");
        write(
            "a.html",
            "<p id=x><a href='sub/b.html#top'><a href='#x'><a href='https://example.com/#y'>\
             <a href='sub/b.html#bottom'><a href=c.html><img src='../out.png'>",
        );
        assert_eq!(
            dead(folder.path()).unwrap(),
            [
                "a.html links to ../out.png: there is no such file in the book",
                "a.html links to c.html: there is no such file in the book",
                "a.html links to sub/b.html#bottom: that page has nothing of the id `bottom`",
            ]
        );
    }
}
