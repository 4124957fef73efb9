"""HTML of elements: closed, escaped, and nothing of a text becomes markup."""

from d2road.report.html_elements import Markup, element, embedded_image, escaped, page, table
from tests.factories.html_pages import parsed


def test_texts_are_escaped_and_markup_is_not():
    assert element("p", "<b> & \"'", element("b", 3)) == "<p>&lt;b&gt; &amp; &quot;&#x27;<b>3</b></p>"
    assert element("a", "x", href='"><script>') == '<a href="&quot;&gt;&lt;script&gt;">x</a>'
    assert escaped(Markup("<i>")) == "<i>" and element("br") == "<br>"


def test_characters_that_html_forbids_are_replaced():
    assert escaped("a\x00b\x1fc\ud800d\tü\n") == "a�b�c�d\tü\n"


def test_a_page_is_well_formed_and_loads_nothing():
    text = page(
        "<title>", "p { color: red }", table(("a", "b"), [("<", 1)]), embedded_image(b"\x89PNG", "png", 'a "b"')
    )
    found = parsed(text)
    assert found.text["title"] == ["<title>"] and found.text["td"] == ["<", "1"]
    (image,) = found.attributes("img")
    assert image == {"src": "data:image/png;base64,iVBORw==", "alt": 'a "b"'}
