// A table that is wider than its place scrolls, and can be reached by keyboard.
for (const table of document.querySelectorAll(".table-wrapper")) {
    if (table.scrollWidth > table.clientWidth) {
        table.tabIndex = 0;
    }
}
