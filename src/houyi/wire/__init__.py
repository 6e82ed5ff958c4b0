"""JSON and MessagePack shapes of what crosses a process boundary. Shapes stop here: store, control and host never see them."""
