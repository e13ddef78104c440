"""Menus and sliders only where a reader can move them."""

from lib.study import widgets


def test_no_widgets_without_their_package(monkeypatch):
    monkeypatch.setattr(widgets, "find_spec", lambda name: None)
    assert widgets.unavailable() == widgets.NO_PACKAGE


def test_a_kernel_tells_a_reader_from_an_executor():
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    try:
        found = {}
        for asked in (True, False):
            said = []
            client.execute_interactive(
                "from lib.study import widgets; print(not widgets.unavailable())",
                allow_stdin=asked,
                stdin_hook=lambda message: None,
                output_hook=lambda message, said=said: said.append(message["content"].get("text", "")),
                timeout=120,
            )
            found[asked] = "".join(said).strip()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert found == {True: "True", False: "False"}
