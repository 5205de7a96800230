"""Reads a table.json and its page, for the tests of both."""

from test_report import _Page


def cells_of(found):
    """Yield part, row, column and cell of a table."""
    for part in found["parts"]:
        for row in part["rows"]:
            for column, cell in zip(part["columns"], row["cells"], strict=True):
                yield part, row, column, cell


def shown(column, value, more=0):
    """Write a value as the page does."""
    digits = column["decimals"] + more
    scaled = 100 * value if column["percent"] else value
    return f"{scaled:.{digits}f}".replace("-", "−")


class TablePage(_Page):
    """Also collects rows of the results table: class, name, text of every cell."""

    def __init__(self, html):
        self.rows, self.titles, self.inside = [], [], 0
        super().__init__(html)

    def handle_starttag(self, tag, attrs):
        super().handle_starttag(tag, attrs)
        given = dict(attrs)
        self.inside += tag == "table"
        if tag == "tr" and self.inside == 1:
            self.rows.append([given.get("class")])
        if tag in ("td", "th") and self.inside == 1 and self.rows:
            self.rows[-1].append("")
            self.titles.append(given.get("title", ""))

    def handle_endtag(self, tag):
        self.inside -= tag == "table"
        super().handle_endtag(tag)

    def handle_data(self, data):
        super().handle_data(data)
        if self.inside == 1 and self.rows and {"td", "th"} & set(self.stack):
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {data.strip()}".strip()


def rows_of(page):
    """Rows of tables with cells, by name."""
    return {
        row[1]: row
        for row in page.rows
        if len(row) == 8 and row[0] not in (None, "more")
    }
