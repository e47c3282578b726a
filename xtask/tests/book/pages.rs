//! What holds for every page: nothing fails, nothing is wider than the window, all can be read.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::kit::{AXE, Reader};

/// In pixels: a telephone and a laptop.
const WIDTHS: [u32; 2] = [360, 1440];
const THEMES: [&str; 2] = ["light", "dark"];

/// What stands out of the window, less what is in a box that scrolls.
const WIDER: &str = r"
    const scrolls = element => element && element !== document.body &&
        (['auto', 'scroll', 'hidden'].includes(getComputedStyle(element).overflowX) || scrolls(element.parentElement));
    const names = [...document.querySelectorAll('body *')]
        .filter(element => element.checkVisibility() && element.getBoundingClientRect().right > innerWidth + 1)
        .filter(element => !scrolls(element.parentElement))
        .map(element => element.outerHTML.slice(0, 80));
    if (document.scrollingElement.scrollWidth > innerWidth) names.push('the page scrolls sideways');
    return names;
";

/// Lines of code that are too long for their listing.
const LONG: &str = r"
    return [...document.querySelectorAll('figure.code pre > code')].flatMap(code => {
        code.style.whiteSpace = 'pre';
        code.style.overflow = 'auto';
        const isLong = code.scrollWidth > code.clientWidth;
        code.removeAttribute('style');
        return isLong ? [code.textContent.split('\n').reduce((a, b) => a.length > b.length ? a : b)] : [];
    });
";

/// Whatever axe-core finds: its rules for WCAG 2.1 A and AA, and for good practice.
const VIOLATIONS: &str = r"
    const found = await axe.run(document, {resultTypes: ['violations']});
    return found.violations.flatMap(rule => rule.nodes.map(node =>
        `${rule.id}: ${node.target.join(' ')}: ${node.failureSummary.split('\n').slice(1).join(' ').trim()}`));
";

/// Text of pictures that is hard to read, which axe-core does not look at: its contrast with what
/// lies below it is less than 4.5 to 1.
const FAINT: &str = r"
    const numbers = colour => colour.match(/[\d.]+/g).map(Number);
    const luminance = colour => {
        const [r, g, b] = numbers(colour).slice(0, 3).map(c => c / 255)
            .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const isSeen = colour => colour.startsWith('rgb') && (numbers(colour)[3] ?? 1) === 1;
    return [...document.querySelectorAll('main svg text')].flatMap(text => {
        text.scrollIntoView({block: 'center', behavior: 'instant'});
        const box = text.getBoundingClientRect();
        const below = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2)
            .filter(element => !['text', 'path'].includes(element.tagName))
            .map(element => getComputedStyle(element))
            .map(style => isSeen(style.fill) && style.fill !== 'rgb(0, 0, 0)' ? style.fill : style.backgroundColor)
            .find(isSeen);
        const [a, b] = [luminance(getComputedStyle(text).fill), luminance(below)];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        return contrast < 4.5 ? [`${text.textContent}: ${contrast.toFixed(2)} to 1`] : [];
    });
";

/// How many bytes it takes to load the page with all that is on it.
const WEIGHT: &str = r"
    return ['navigation', 'resource'].flatMap(type => performance.getEntriesByType(type))
        .reduce((sum, entry) => sum + entry.decodedBodySize, 0);
";
const MOST: u64 = 300 * 1024;

/// Every page, at both widths and in both themes.
#[tokio::test]
async fn every_page_can_be_read() {
    let reader = Reader::new().await;
    reader
        .tell("Network.setCacheDisabled", json!({"cacheDisabled": true}))
        .await;
    // What is wrong, and on which pages.
    let mut problems: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut heaviest = (0, String::new());
    for page in reader.pages() {
        for width in WIDTHS {
            for theme in THEMES {
                let mut add = |what: &str, found: Vec<String>| {
                    for found in found {
                        let on = problems.entry(format!("{what}{found}")).or_default();
                        on.push(format!("{page} ({width}, {theme})"));
                    }
                };
                reader.looks(width, theme).await;
                reader.open(&page).await;
                add("", reader.faults().await);
                add("wider than the window: ", strings(reader.ask(WIDER).await));
                if width == 1440 {
                    add("a long line: ", strings(reader.ask(LONG).await));
                }
                add("too faint: ", strings(reader.ask(FAINT).await));
                let weight = reader.ask(WEIGHT).await.as_u64().unwrap();
                if weight > MOST {
                    add("too heavy: ", vec![format!("{weight} bytes")]);
                }
                heaviest = heaviest.max((weight, page.clone()));
                reader.ask(&AXE).await;
                let violations = format!("return (async () => {{{VIOLATIONS}}})()");
                add("", strings(reader.ask(&violations).await));
            }
        }
    }
    println!("the heaviest page: {heaviest:?}");
    assert!(problems.is_empty(), "{problems:#?}");
}

fn strings(found: Value) -> Vec<String> {
    serde_json::from_value(found).unwrap()
}
