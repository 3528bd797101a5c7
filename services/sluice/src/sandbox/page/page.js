// The sandbox's page. Everything that comes out of a message is set as text, never as HTML; a message's own HTML
// is shown in a frame that runs no script.

const PAGE = 50;
const REFRESH_MS = 2000;
const SOURCE_MAX = 1 << 20;

const at = (id) => document.getElementById(id);
const state = { query: '', limit: PAGE, open: null, tab: null, shown: '' };

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'onclick') node.addEventListener('click', value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

async function ask(path, options) {
  const response = await fetch(path, options);
  if (!response.ok) throw new Error(`${response.status} for ${path}`);
  return response;
}

const plural = (n, word) => `${n.toLocaleString()} ${word}${n === 1 ? '' : 's'}`;

function size(octets) {
  if (octets < 1024) return plural(octets, 'byte');
  const units = ['KiB', 'MiB', 'GiB'];
  let value = octets / 1024;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}

function when(iso) {
  const date = new Date(iso);
  const today = date.toDateString() === new Date().toDateString();
  const text = today ? date.toLocaleTimeString() : date.toLocaleDateString(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
  return make('time', { datetime: iso, title: date.toLocaleString() }, text);
}

const short = (contact) => contact.Name || contact.Address || '(none)';

// --- the list ---

function item(message) {
  const to = [...message.To, ...message.Cc, ...message.Bcc].map(short).join(', ') || '(nobody)';
  const link = make('a', { href: `/view/${message.ID}`, 'aria-current': message.ID === state.open ? 'true' : null },
    make('span', { class: 'who' }, `${short(message.From)} → ${to}`),
    when(message.Created),
    make('span', { class: 'subject' }, message.Subject || '(no subject)'),
    make('span', { class: 'snippet' }, [message.Attachments && plural(message.Attachments, 'file'), message.Snippet].filter(Boolean).join(' · ')));
  link.addEventListener('click', (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(message.ID);
  });
  return make('li', { class: message.Read ? null : 'unread', 'data-id': message.ID }, link);
}

function render(list) {
  const focused = document.activeElement?.closest?.('#list li')?.dataset.id;
  at('list').replaceChildren(...list.messages.map(item));
  if (focused) at('list').querySelector(`[data-id="${CSS.escape(focused)}"] a`)?.focus({ preventScroll: true });
  at('more').hidden = list.messages.length >= list.messages_count;
  at('clear').hidden = list.total === 0;
  at('empty').hidden = list.messages.length > 0;
  const [heading, text] = at('empty').children;
  heading.textContent = list.total ? 'Nothing matches' : 'No mail yet';
  text.textContent = list.total
    ? 'Search for words, to:, from:, subject:, is:unread or has:attachment.'
    : 'What you submit to Sluice is delivered here instead of to the network, and shows up by itself.';
  document.title = list.unread ? `(${list.unread}) Sluice sandbox` : 'Sluice sandbox';
}

async function refresh() {
  const query = state.query.trim();
  const path = query ? `/api/v1/search?query=${encodeURIComponent(query)}&` : '/api/v1/messages?';
  try {
    const text = await (await ask(`${path}limit=${state.limit}`)).text();
    if (query !== state.query.trim()) return;
    const list = JSON.parse(text);
    const found = query ? `${list.messages_count.toLocaleString()} of ` : '';
    say(`${found}${plural(list.total, 'message')}${list.unread ? `, ${list.unread.toLocaleString()} unread` : ''}`);
    if (text !== state.shown) {
      state.shown = text;
      render(list);
    }
  } catch (error) {
    say('Sluice does not answer', true);
  }
}

function say(text, lost = false) {
  const status = at('status');
  status.classList.toggle('lost', lost);
  if (status.textContent !== text) status.textContent = text;
}

// --- one message ---

function contacts(list) {
  return list.flatMap((contact, i) => [
    ...(i ? [', '] : []),
    contact.Name ? `${contact.Name} ` : '',
    make('span', { class: contact.Name ? 'address' : null }, contact.Name ? `<${contact.Address}>` : contact.Address),
  ]);
}

function facts(message) {
  const rows = [
    ['From', contacts([message.From])],
    ['To', contacts(message.To)],
    ['Cc', contacts(message.Cc)],
    ['Bcc', contacts(message.Bcc)],
    ['Reply to', contacts(message.ReplyTo)],
    ['Date', [new Date(message.Date).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' })]],
    ['Bounces to', [message.ReturnPath || '(nobody)']],
    ['Size', [size(message.Size)]],
  ];
  const filled = rows.filter(([, value]) => value.length);
  return make('dl', {}, ...filled.flatMap(([name, value]) => [make('dt', {}, name), make('dd', {}, ...value)]));
}

function files(message) {
  const all = [...message.Attachments, ...message.Inline];
  if (!all.length) return '';
  const links = all.map((file) => make('li', {}, make('a', {
    class: 'button', href: `/api/v1/message/${message.ID}/part/${file.PartID}`, download: file.FileName || 'part',
  }, file.FileName || file.ContentType, ' ', make('small', {}, size(file.Size)))));
  return make('ul', { class: 'files', 'aria-label': 'Files' }, ...links);
}

/** The header's fields in their order, unfolded. */
function fields(source) {
  const header = source.split(/\r?\n\r?\n/, 1)[0];
  const lines = header.replace(/\r?\n(?=[ \t])/g, '').split(/\r?\n/);
  const rows = lines.filter((line) => line.includes(':')).map((line) => {
    const colon = line.indexOf(':');
    return make('tr', {}, make('th', { scope: 'row' }, line.slice(0, colon)), make('td', {}, line.slice(colon + 1).trim()));
  });
  return make('table', {}, make('tbody', {}, ...rows));
}

function panels(message) {
  const raw = `/api/v1/message/${message.ID}/raw`;
  const source = async () => (await ask(raw)).text();
  const all = {
    HTML: () => [
      make('iframe', { src: `/view/${message.ID}.html?embed=1`, title: 'The message as HTML', sandbox: 'allow-popups allow-popups-to-escape-sandbox' }),
      make('p', { class: 'note' }, 'Scripts and remote pictures are not loaded.'),
    ],
    Text: () => [make('pre', {}, message.Text)],
    Headers: async () => [fields(await source())],
    Source: async () => {
      const text = await source();
      const note = text.length > SOURCE_MAX ? [make('p', { class: 'note' }, 'Only the beginning is shown. ', make('a', { href: raw }, 'All of it'))] : [];
      return [...note, make('pre', { class: 'source', tabindex: '0' }, text.slice(0, SOURCE_MAX))];
    },
  };
  if (!message.HTML) delete all.HTML;
  return all;
}

function tabs(message) {
  const all = panels(message);
  const names = Object.keys(all);
  const panel = make('div', { role: 'tabpanel', id: 'panel' });
  const buttons = names.map((name) => make('button', {
    role: 'tab', type: 'button', id: `tab-${name}`, 'aria-controls': 'panel', onclick: () => select(name),
  }, name));
  async function select(name) {
    state.tab = name;
    for (const button of buttons) {
      const chosen = button.textContent === name;
      button.setAttribute('aria-selected', chosen);
      button.tabIndex = chosen ? 0 : -1;
    }
    panel.setAttribute('aria-labelledby', `tab-${name}`);
    const content = await all[name]();
    if (state.tab === name) panel.replaceChildren(...content);
  }
  const list = make('div', { role: 'tablist', 'aria-label': 'Views of the message' }, ...buttons);
  list.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
    next.focus();
    next.click();
  });
  select(names.includes(state.tab) ? state.tab : names[0]);
  return [list, panel];
}

async function show(id) {
  state.open = id;
  document.body.classList.toggle('open', Boolean(id));
  for (const link of at('list').querySelectorAll('a')) {
    const chosen = link.parentElement.dataset.id === id;
    if (chosen) link.setAttribute('aria-current', 'true'); else link.removeAttribute('aria-current');
  }
  const article = at('message');
  if (!id) {
    article.replaceChildren(make('p', { class: 'nothing' }, 'Choose a message to read it.'));
    return;
  }
  let message;
  try {
    message = await (await ask(`/api/v1/message/${encodeURIComponent(id)}`)).json();
  } catch (error) {
    article.replaceChildren(make('p', { class: 'nothing' }, 'This message is no longer here.'));
    return;
  }
  if (state.open !== id) return;
  const remove = async () => {
    await ask('/api/v1/messages', { method: 'DELETE', body: JSON.stringify({ IDs: [message.ID] }) });
    go(null);
    refresh();
  };
  article.replaceChildren(
    make('div', { class: 'top' },
      make('div', { class: 'heading' },
        make('h2', {}, message.Subject || '(no subject)'),
        make('div', { class: 'actions' },
          make('button', { type: 'button', class: 'back', onclick: () => go(null) }, '← All'),
          make('a', { class: 'button', href: `/api/v1/message/${message.ID}/raw?dl=1` }, 'Download'),
          make('button', { type: 'button', class: 'danger', onclick: remove }, 'Delete'))),
      facts(message),
      files(message)),
    ...tabs(message));
  article.scrollTop = 0;
  // On a phone the list is hidden now, and the focus with it.
  if (!at('list').offsetParent) article.focus({ preventScroll: true });
  refresh();
}

// --- moving about ---

function go(id) {
  const path = id ? `/view/${id}` : '/';
  if (location.pathname !== path) history.pushState(null, '', path);
  show(id);
}

const opened = () => decodeURIComponent(location.pathname.match(/^\/view\/([^/]+)$/)?.[1] ?? '') || null;

addEventListener('popstate', () => show(opened()));
at('home').addEventListener('click', (event) => { event.preventDefault(); go(null); });
at('more').addEventListener('click', () => { state.limit += PAGE; refresh(); });
at('clear').addEventListener('click', async () => {
  if (!confirm('Delete all messages in the sandbox?')) return;
  await ask('/api/v1/messages', { method: 'DELETE' });
  go(null);
  refresh();
});
at('query').addEventListener('input', (event) => {
  state.query = event.target.value;
  state.limit = PAGE;
  refresh();
});
at('list').addEventListener('keydown', (event) => {
  const step = { ArrowDown: 'nextElementSibling', ArrowUp: 'previousElementSibling' }[event.key];
  const next = step && event.target.closest('li')?.[step]?.querySelector('a');
  if (!next) return;
  event.preventDefault();
  next.focus();
});

setInterval(() => { if (!document.hidden) refresh(); }, REFRESH_MS);
document.addEventListener('visibilitychange', () => { if (!document.hidden) refresh(); });
show(opened());
refresh();
