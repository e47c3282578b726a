//! What a reader does on the pages: search, click, copy.

use harness::workspace::Workspace;
use serde_json::json;
use thirtyfour::prelude::*;

use crate::kit::Reader;

/// The page of chapter 2, which has a timeline, commands and outputs.
const CHAPTER: &str = "chapters/02-input-poller.html";

fn chapters() -> Vec<harness::workspace::Chapter> {
    Workspace::find().unwrap().chapters().unwrap()
}

#[tokio::test]
async fn search_finds_each_chapter() {
    let reader = Reader::new().await;
    for chapter in chapters() {
        reader.open("index.html").await;
        reader.find("body").await.send_keys("/").await.unwrap();
        reader
            .until("return document.activeElement.id === 'mdbook-searchbar'")
            .await;
        let field = reader.find("#mdbook-searchbar").await;
        field.send_keys(&chapter.title).await.unwrap();
        reader
            .until("return document.querySelector('#mdbook-searchresults a') !== null")
            .await;
        let first = reader.find("#mdbook-searchresults a").await;
        let leads_to = first.attr("href").await.unwrap().unwrap();
        let page = format!("chapters/{}.html", chapter.folder);
        assert!(leads_to.starts_with(&page), "{}: {leads_to}", chapter.title);
        first.click().await.unwrap();
        reader
            .until(&format!("return location.pathname === '/{page}'"))
            .await;
    }
    assert_eq!(reader.faults().await, [""; 0]);
}

/// The row that the address leads to is the one of the mark, and can be seen.
const AT_ITS_LINE: &str = "
    const row = document.querySelector('.timeline tr:target');
    if (!row) return false;
    const box = row.getBoundingClientRect();
    const seen = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    return row.contains(seen);
";

#[tokio::test]
async fn a_mark_of_a_timeline_leads_to_its_line() {
    let reader = Reader::new().await;
    for scripts in [true, false] {
        let disabled = json!({"value": !scripts});
        reader
            .tell("Emulation.setScriptExecutionDisabled", disabled)
            .await;
        for by_keyboard in [false, true] {
            reader.open(CHAPTER).await;
            let marks = reader
                .browser
                .find_all(By::Css("svg.timeline a"))
                .await
                .unwrap();
            let mark = marks.last().unwrap();
            let id = mark.attr("href").await.unwrap().unwrap();
            if by_keyboard {
                mark.focus().await.unwrap();
                let focused = reader.browser.active_element().await.unwrap();
                focused.send_keys(Key::Enter).await.unwrap();
            } else {
                mark.click().await.unwrap();
            }
            assert!(
                reader
                    .browser
                    .current_url()
                    .await
                    .unwrap()
                    .as_str()
                    .ends_with(&id)
            );
            // A question is a script too, and may be asked.
            reader.until(AT_ITS_LINE).await;
        }
    }
}

#[tokio::test]
async fn a_command_is_copied_without_its_output() {
    let reader = Reader::new().await;
    let read = json!({"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]});
    reader.tell("Browser.grantPermissions", read).await;
    reader.open(CHAPTER).await;
    let commands = reader
        .browser
        .find_all(By::Css("figure.run"))
        .await
        .unwrap();
    assert!(!commands.is_empty());
    for command in commands {
        let typed = command
            .find(By::Css("code"))
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let button = command.find(By::Css(".clip-button")).await.unwrap();
        button.scroll_into_view().await.unwrap();
        button.click().await.unwrap();
        let copied = reader.ask("return navigator.clipboard.readText()").await;
        assert_eq!(copied.as_str().unwrap().trim_end(), typed);
    }
    let others = reader.ask(
        "return [...document.querySelectorAll('figure.output .clip-button')].filter(b => b.checkVisibility()).length",
    );
    assert_eq!(others.await, json!(0), "an output has nothing to copy");
}
