//! The theme: mdBook's own, less what the book does not need. The look is `book/theme`.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use mdbook_core::config::HtmlConfig;
use mdbook_html::theme::Theme;

/// What is otherwise in mdBook's page, each text standing there once.
const CHANGES: [(&str, &str); 7] = [
    // A page has one heading of the first order, its own.
    (
        r#"<h1 class="menu-title">{{ book_title }}</h1>"#,
        r#"<div class="menu-title">{{ book_title }}</div>"#,
    ),
    // The bar is a part of the page with a name.
    (
        r#"class="menu-bar sticky""#,
        r#"class="menu-bar sticky" role="banner""#,
    ),
    // What is used as a button is one, by keyboard too. The box that it stands for is changed when
    // the page's script has seen the click.
    (
        r#"<label id="mdbook-sidebar-toggle" class="icon-button" for="mdbook-sidebar-toggle-anchor""#,
        r#"<button type="button" id="mdbook-sidebar-toggle" class="icon-button" onclick="setTimeout(() => document.getElementById('mdbook-sidebar-toggle-anchor').click())""#,
    ),
    (
        r#"{{fa "solid" "bars"}}
                        </label>"#,
        r#"{{fa "solid" "bars"}}
                        </button>"#,
    ),
    // Two themes, and their names.
    (
        r#"<li role="none"><button role="menuitem" class="theme" id="mdbook-theme-rust">Rust</button></li>
                            <li role="none"><button role="menuitem" class="theme" id="mdbook-theme-coal">Coal</button></li>
                            <li role="none"><button role="menuitem" class="theme" id="mdbook-theme-navy">Navy</button></li>
                            <li role="none"><button role="menuitem" class="theme" id="mdbook-theme-ayu">Ayu</button></li>"#,
        r#"<li role="none"><button role="menuitem" class="theme" id="mdbook-theme-navy">Dark</button></li>"#,
    ),
    // The field has a name, and what describes it is there.
    (
        r#"placeholder="Search this book ...""#,
        r#"placeholder="Search this book" aria-label="Search this book""#,
    ),
    (
        r#"aria-describedby="searchresults-header""#,
        r#"aria-describedby="mdbook-searchresults-header""#,
    ),
];

/// Writes the theme into an empty folder; `own` has what takes the place of mdBook's files.
///
/// # Errors
///
/// If files cannot be read or written, or if mdBook's page is no longer what is changed here.
pub(crate) fn write(own: &Path, folder: &Path) -> anyhow::Result<()> {
    let mut config = HtmlConfig::default();
    config.theme = Some(folder.to_owned());
    Theme::copy_theme(&config, Path::new("/"))?;

    let file = folder.join("index.hbs");
    let mut page = fs::read_to_string(&file)?;
    for (from, to) in CHANGES {
        ensure!(
            page.matches(from).count() == 1,
            "mdBook's page has no longer this text, which the book changes: {from}"
        );
        page = page.replacen(from, to, 1);
    }
    fs::write(&file, page)?;

    // The fonts are those of the system.
    fs::remove_dir_all(folder.join("fonts"))?;
    fs::create_dir(folder.join("fonts"))?;
    fs::write(folder.join("fonts/fonts.css"), "/* None is loaded. */\n")?;

    // Listings have their colours already, by the book's own sheet. The page's script asks for this.
    fs::write(
        folder.join("highlight.js"),
        "window.hljs = { configure() {}, highlightBlock() {} };\n",
    )?;
    for sheet in ["highlight.css", "tomorrow-night.css", "ayu-highlight.css"] {
        fs::write(folder.join(sheet), "")?;
    }

    // One icon is given, in the form that every size is made from.
    fs::remove_file(folder.join("favicon.png"))?;
    let icon = own.join("favicon.svg");
    fs::copy(&icon, folder.join("favicon.svg"))
        .with_context(|| format!("cannot copy {}", icon.display()))?;
    Ok(())
}
