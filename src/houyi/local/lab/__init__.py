"""`houyi lab`: a small data centre of real hosts on one machine, made of namespaces. docs/LAB.md draws its states.

    machine                       up.py, down.py, ask.py: what the command does, from outside
      └ lab's first process       first.py: its pid and network namespace; ends -> everything below ends
          ├ keeper                keeper.py: the bridge, the server, the hosts; answers ask.py over a socket
          ├ server
          └ host's first process  first.py again, one a host: pid, network, mount and UTS namespace
              └ virtlogd, libvirtd, agent, QEMU ...

So nothing can outlive a lab, however it ends, and nothing of it is in the machine's own namespaces but its first process's listening socket.
"""
