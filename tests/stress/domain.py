"""What the stress scripts know of a run's processes: who they are, and how to end them."""
import os
import signal


def children(pid):
    found = []
    for name in os.listdir('/proc'):
        if name.isdigit():
            try:
                with open(f'/proc/{name}/stat', 'rb') as f:
                    fields = f.read().rpartition(b')')[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] not in (b'Z', b'X'):
                found.append(int(name))
    return found


def name(pid):
    try:
        with open(f'/proc/{pid}/cmdline', 'rb') as f:
            return f.read().split(b'\0')[0].rsplit(b'/')[-1].decode()
    except OSError:
        return ''


def supervisor_of(session):
    """The private supervisor of a `virtuos run`, which is nobody's child: it is known by the --session it names."""
    for entry in os.listdir('/proc'):
        if entry.isdigit() and name(entry) == 'virtuosd':
            try:
                with open(f'/proc/{entry}/cmdline', 'rb') as f:
                    if f'--session={session}'.encode() in f.read().split(b'\0'):
                        return int(entry)
            except OSError:
                pass
    return None


def hit(session, kind, rnd):
    """Signals a part of the session's only domain: `broker`, `proxy` or `domain` is killed, `stop-…` is stopped."""
    daemon = supervisor_of(session)
    brokers = children(daemon) if daemon else []
    proxies = children(brokers[0]) if brokers else []
    part = kind.rpartition('-')[2]
    if part == 'broker':
        victims = brokers
    elif part == 'proxy':
        victims = [rnd.choice(proxies)] if proxies else []
    else:
        victims = brokers + proxies
    for pid in victims:
        try:
            os.kill(pid, signal.SIGSTOP if kind.startswith('stop') else signal.SIGKILL)
        except ProcessLookupError:
            pass
    return victims
