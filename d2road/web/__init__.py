"""A page in the browser that asks models about uploaded files: `d2road web`.

Requests (`*_request.py`) take files and give texts, drawings and files, without gradio; `page.py` and `page_tabs.py`
lay them out with it. Reading, resizing, drawing and writing are those of `d2road predict` and `d2road score-stream`.
"""
