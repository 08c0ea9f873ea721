"""A stand-in of the Hugging Face Hub on this machine, and huggingface-hub pointed at it.

It answers what huggingface-hub asks while models are published and read, as the hub's own API is described in its
client: repositories, commits, files in git and in LFS, redirects of the latter to another address, ETags, ranges.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = 'hf_of_the_tests'


@dataclass
class Repository:
    private: bool = False
    commits: dict = field(default_factory=lambda: {sha1(b'empty'): {}})  # files of each, the newest last
    lfs: set = field(default_factory=set)

    @property
    def head(self):
        return [*self.commits][-1]

    def commit(self, files):
        """Adds files to those of the newest commit; the name of the new one."""
        content = {**self.commits[self.head], **files}
        name = sha1(repr((len(self.commits), sorted(content.items()))).encode())
        self.commits[name] = content
        return name


@dataclass
class Hub:
    """What the hub has, what it was asked for (method, path, headers), and what it does wrong.

    Attributes:
        cut: Path of a file, whose connection is dropped after so many bytes, once.
        broken: Part of the path of requests that are answered with 500.
    """

    url: str = ''
    repositories: dict = field(default_factory=dict)
    objects: dict = field(default_factory=dict)  # of LFS, by SHA-256
    asked: list = field(default_factory=list)
    cut: tuple | None = None
    broken: str | None = None

    def publish(self, name, files, lfs=('model.safetensors',)):
        """Makes a commit as somebody else would, past the API."""
        repository = self.repositories.setdefault(name, Repository())
        for file in set(lfs) & files.keys():
            self.objects[hashlib.sha256(files[file]).hexdigest()] = files[file]
        repository.lfs |= {
            (file, hashlib.sha256(content).hexdigest()) for file, content in files.items() if file in lfs
        }
        return repository.commit(files)

    def files(self, name):
        repository = self.repositories[name]
        return repository.commits[repository.head]

    def downloads(self):
        """The paths of files that were sent, and the range that was asked for."""
        files = re.compile('/resolve/|^/cdn/')
        return [(p, headers.get('Range')) for method, p, headers in self.asked if method == 'GET' and files.search(p)]


def sha1(content):
    return hashlib.sha1(content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    hub: Hub

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self._answer()

    do_GET = do_POST = do_PUT = do_HEAD

    def _answer(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, dict(self.headers)))
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        if self.hub.broken and self.hub.broken in path:
            return self._send(500, b'')
        for method, pattern, answer in ROUTES:
            if method in (self.command, 'ANY') and (found := re.fullmatch(pattern, path)):
                return answer(self, body, *found.groups())
        return self._send(404, b'', {'X-Error-Message': f'no such address: {path}'})

    # ---- answers ----

    def _send(self, status, content, headers=None):
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {'Content-Length': len(content), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(content)

    def _error(self, status, code):
        self._send(status, b'', {'X-Error-Code': code, 'X-Error-Message': code})

    def _may_write(self):
        return self.headers.get('authorization') == f'Bearer {TOKEN}'

    def _repository(self, name):
        """The repository, or none after an answer: of private ones strangers hear what they hear of none."""
        found = self.hub.repositories.get(name)
        if found is None or (found.private and not self._may_write()):
            self._error(401, 'RepoNotFound')
            return None
        return found

    # ---- reading ----

    def resolve(self, body, name, revision, file):
        if (repository := self._repository(name)) is None:
            return
        commit = repository.head if revision == 'main' else revision
        if commit not in repository.commits:
            self._error(404, 'RevisionNotFound')
            return
        content = repository.commits[commit].get(file)
        headers = {'X-Repo-Commit': commit}
        if content is None:
            self._send(404, b'', {**headers, 'X-Error-Code': 'EntryNotFound', 'X-Error-Message': 'Entry not found'})
            return
        digest = hashlib.sha256(content).hexdigest()
        if (file, digest) in repository.lfs:
            headers |= {'X-Linked-Size': len(content), 'X-Linked-ETag': f'"{digest}"'}
            # On another host, as the hub has them: the token must not go there.
            other = self.hub.url.replace('127.0.0.1', 'localhost')
            self._send(302, b'', {**headers, 'Location': f'{other}/cdn/{digest}'})
        else:
            self._file(content, {**headers, 'ETag': f'"{sha1(content)}"'})

    def cdn(self, body, digest):
        self._file(self.hub.objects[digest], {'ETag': f'"{digest}"'})

    def _file(self, content, headers):
        status, size = 200, len(content)
        if asked := re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range', '')):
            start = int(asked[1])
            status, content = 206, content[start:]
            headers['Content-Range'] = f'bytes {start}-{size - 1}/{size}'
        path = urlsplit(self.path).path
        if self.command == 'GET' and self.hub.cut and self.hub.cut[0] in path:
            keep, self.hub.cut = self.hub.cut[1], None
            self.send_response(status)
            for name, value in {**headers, 'Content-Length': len(content)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content[:keep])
            self.close_connection = True
            return
        self._send(status, content, headers)

    def info(self, body, name):
        if (repository := self._repository(name)) is not None:
            self._send(200, dict(id=name, sha=repository.head, private=repository.private, siblings=[]))

    # ---- writing ----

    def whoami(self, body):
        if self._may_write():
            self._send(200, dict(name='tester', type='user', orgs=[]))
        else:
            self._send(401, dict(error='Invalid username or password.'))

    def create(self, body):
        if not self._may_write():
            self._send(401, dict(error='Invalid username or password.'))
            return
        asked = json.loads(body)
        name = f'{asked.get("organization") or "tester"}/{asked["name"]}'
        if name in self.hub.repositories:
            self._send(409, dict(error='You already created this model repo', url=f'{self.hub.url}/{name}'))
            return
        is_private = bool(asked.get('private')) or asked.get('visibility') == 'private'
        self.hub.repositories[name] = Repository(private=is_private)
        self._send(200, dict(url=f'{self.hub.url}/{name}', name=name, id=name))

    def validate_yaml(self, body):
        self._send(200, dict(errors=[], warnings=[]))

    def preupload(self, body, name, revision):
        files = [
            dict(path=file['path'], uploadMode='lfs' if file['path'].endswith('.safetensors') else 'regular')
            for file in json.loads(body)['files']
        ]
        self._send(200, dict(files=[dict(file, shouldIgnore=False, oid=None) for file in files]))

    def batch(self, body, name):
        objects = [dict(one, authenticated=True) for one in json.loads(body)['objects']]
        for one in objects:
            if one['oid'] not in self.hub.objects:
                one['actions'] = dict(upload=dict(href=f'{self.hub.url}/lfs/{one["oid"]}', header={}))
        self._send(200, dict(transfer='basic', objects=objects))

    def put(self, body, digest):
        assert hashlib.sha256(body).hexdigest() == digest
        self.hub.objects[digest] = body
        self._send(200, b'')

    def commit(self, body, name, revision):
        if (repository := self._repository(name)) is None:
            return
        files = {}
        for line in map(json.loads, body.splitlines()):
            value = line['value']
            if line['key'] == 'file':
                files[value['path']] = base64.b64decode(value['content'])
            elif line['key'] == 'lfsFile':
                files[value['path']] = self.hub.objects[value['oid']]
                repository.lfs.add((value['path'], value['oid']))
        commit = repository.commit(files)
        url = f'{self.hub.url}/{name}/commit/{commit}'
        self._send(200, dict(success=True, commitOid=commit, commitUrl=url, hookOutput=''))


_NAME = r'([\w.-]+/[\w.-]+)'
ROUTES = (
    ('ANY', rf'/{_NAME}/resolve/(.+)/([^/]+)', _Handler.resolve),
    ('GET', r'/cdn/(\w+)', _Handler.cdn),
    ('GET', rf'/api/models/{_NAME}', _Handler.info),
    ('GET', r'/api/whoami-v2', _Handler.whoami),
    ('POST', r'/api/repos/create', _Handler.create),
    ('POST', r'/api/validate-yaml', _Handler.validate_yaml),
    ('POST', rf'/api/models/{_NAME}/preupload/(.+)', _Handler.preupload),
    ('POST', rf'/{_NAME}\.git/info/lfs/objects/batch', _Handler.batch),
    ('PUT', r'/lfs/(\w+)', _Handler.put),
    ('POST', rf'/api/models/{_NAME}/commit/(.+)', _Handler.commit),
)


@contextmanager
def running_hub():
    """A hub that answers on this machine."""
    hub = Hub()
    handler = type('Handler', (_Handler,), dict(hub=hub))
    server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    server.daemon_threads = True
    hub.url = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def offline():
    """As with HF_HUB_OFFLINE=1, of which the connections of huggingface-hub are made."""
    from huggingface_hub import constants, utils

    # The first name is that of version 1 and later.
    close = utils.close_session if hasattr(utils, 'close_session') else utils.reset_sessions

    def choose(value):
        constants.HF_HUB_OFFLINE = value
        close()

    choose(True)
    try:
        yield
    finally:
        choose(False)


def environment(hub, cache, token=TOKEN):
    """The variables with which a process of its own uses the stand-in."""
    return dict(HF_ENDPOINT=hub.url, HF_HOME=str(cache), HF_TOKEN=token, HF_HUB_DISABLE_XET='1')


def point_at(hub, cache, monkeypatch, token=TOKEN):
    """Has huggingface-hub in this process use the stand-in; it reads its variables once, when it is imported."""
    import huggingface_hub
    from huggingface_hub import constants, file_download

    for name, value in environment(hub, cache, token).items():
        monkeypatch.setenv(name, value)
    template = hub.url + '/{repo_id}/resolve/{revision}/{filename}'
    monkeypatch.setattr(constants, 'ENDPOINT', hub.url)
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(cache / 'hub'))
    monkeypatch.setattr(constants, 'HF_HUB_DISABLE_XET', True)
    for module in (file_download, huggingface_hub.file_download):
        if hasattr(module, 'HUGGINGFACE_CO_URL_TEMPLATE'):
            monkeypatch.setattr(module, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
