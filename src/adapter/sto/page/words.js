// What the pages say, in Russian and in English, and whether they are light or dark.
// `?lang=ru|en` and `?theme=light|dark` decide; without them the browser does.

const WORDS = {
  en: {
    language: 'Русский',
    other: 'ru',
    loading: 'Loading the queue…',
    connecting: 'Connecting…',
    live: 'Live',
    offline: 'No connection since {time}. What you see may be out of date.',
    offlineShort: 'Offline since {time}',
    noToken: 'This page needs an access token.',
    refusedToken: 'This token is not accepted: it has run out, or its role may not see this page.',
    token: 'Access token',
    enter: 'Open',
    broken: 'The page could not be opened: {reason}',

    boardTitle: 'Service queue',
    calledNow: 'Please come in',
    nobodyCalled: 'Nobody is called at the moment',
    inWork: 'In service',
    ready: 'Ready for pick-up',
    nobodyWaits: 'Nobody is waiting',
    emptyBoard: 'The queue is empty',
    emptyBoardHint: 'The reception is happy to help you.',
    filterZones: 'Zones',
    more: '{count} more',
    total: 'Orders: {count}',

    bay: 'Bay {bay}',
    waiting: 'Waiting',
    in_progress: 'In service',
    blocked: 'On hold',
    completed: 'Ready',
    cancelled: 'Cancelled',
    urgent: 'Urgent',
    vip: 'VIP',
    warranty: 'Warranty',
    reception: 'Reception',
    workshop: 'Workshop',
    diagnostic: 'Diagnostics',
    bodywork: 'Bodywork',
    maintenance: 'Maintenance',
    repair: 'Repair',

    mechanicTitle: 'Mechanic’s terminal',
    allZones: 'All zones',
    zone: 'Zone',
    numbers: 'Numbers of the zone',
    finishedHere: 'Finished since opened',
    colleagues: 'Mechanics online',
    newOrder: 'New order {number}',
    statusNow: 'Order {number}: {status}',
    noOrders: 'No orders here',
    noOrdersHint: 'A new one appears by itself.',
    fromNowOn: 'Orders appear here from now on. To see the earlier ones too, the token needs the role “display” as well.',
    partsReserved: 'Parts reserved: {parts}',
    minutesPlanned: 'Planned: {minutes} min',
    minutesSpent: 'At work for {minutes} min',
    minutesWaited: 'Waits for {minutes} min',
    mechanic: 'Mechanic: {name}',

    trackTitle: 'My place in the queue',
    yourNumber: 'Your number',
    ahead: 'Ahead of you',
    wait: 'Estimated wait',
    aboutMinutes: '≈ {minutes} min',
    youAreNext: 'You are next',
    soon: 'soon',
    position: 'Your position',
    sayWaiting: 'We will call you. Keep this page open.',
    sayInProgress: 'Your car is being taken care of.',
    sayInBay: 'Your car is being taken care of: bay {bay}.',
    sayBlocked: 'Work has paused. We will get in touch with you.',
    sayCompleted: 'Your car is ready. Please come to the reception.',
    sayCancelled: 'This order is cancelled.',
    car: 'Car',
    work: 'Work',
    joinedAt: 'In the queue since',
    startedAt: 'Work began',
    completedAt: 'Ready since',
    cancel: 'Leave the queue',
    cancelSure: 'Leave the queue?',
    cancelHint: 'Your place goes to the next one. This cannot be undone.',
    cancelYes: 'Yes, leave',
    cancelNo: 'Stay in the queue',
    cannotCancel: 'It could not be cancelled here. Please tell the reception.',
    askPhone: 'Enter the telephone number that you left with us.',
    phone: 'Telephone',
    show: 'Show my number',
    wrongPhone: 'There is no order with this telephone number.',
    noLink: 'Scan the QR code at the reception, or open the link that we sent you.',
    joinTitle: 'Join the queue',
    joinHint: 'No need to stand in line: we call you by your number.',
    make: 'Make',
    model: 'Model',
    plate: 'Licence plate',
    workType: 'What is to be done',
    description: 'Describe it in a few words',
    optional: 'optional',
    join: 'Get a number',
    sending: 'One moment…',
    phoneWrong: 'Please enter a telephone number with its country code, such as +992 90 123 45 67.',
    joinUnavailable: 'Numbers are not given out here at the moment. Please ask at the reception.',
    tooMany: 'There is already an order with this number, or there were too many attempts. Please try again later.',
    noAnswer: 'There is no answer. Check the connection; we try again.',
    queueNow: 'Waiting now: {count} · about {minutes} min',
    queueClosed: 'The queue is closed at the moment.',
  },
  ru: {
    language: 'English',
    other: 'en',
    loading: 'Загружаем очередь…',
    connecting: 'Подключаемся…',
    live: 'На связи',
    offline: 'Нет связи с {time}. Данные на экране могли устареть.',
    offlineShort: 'Нет связи с {time}',
    noToken: 'Для этой страницы нужен токен доступа.',
    refusedToken: 'Токен не принят: истёк срок или его роли не хватает для этой страницы.',
    token: 'Токен доступа',
    enter: 'Открыть',
    broken: 'Страницу открыть не удалось: {reason}',

    boardTitle: 'Очередь автосервиса',
    calledNow: 'Приглашаем',
    nobodyCalled: 'Сейчас никого не приглашают',
    inWork: 'В работе',
    ready: 'Готовы к выдаче',
    nobodyWaits: 'Никто не ждёт',
    emptyBoard: 'Очередь пуста',
    emptyBoardHint: 'Подойдите, пожалуйста, на приёмку.',
    filterZones: 'Зоны',
    more: 'ещё {count}',
    total: 'Заказов: {count}',

    bay: 'Бокс {bay}',
    waiting: 'Ожидает',
    in_progress: 'В работе',
    blocked: 'Задержка',
    completed: 'Готов',
    cancelled: 'Отменён',
    urgent: 'Срочно',
    vip: 'VIP',
    warranty: 'Гарантия',
    reception: 'Приёмка',
    workshop: 'Мастерская',
    diagnostic: 'Диагностика',
    bodywork: 'Кузовной цех',
    maintenance: 'Обслуживание',
    repair: 'Ремонт',

    mechanicTitle: 'Терминал механика',
    allZones: 'Все зоны',
    zone: 'Зона',
    numbers: 'Показатели зоны',
    finishedHere: 'Завершено с открытия',
    colleagues: 'Механиков на связи',
    newOrder: 'Новый заказ {number}',
    statusNow: 'Заказ {number}: {status}',
    noOrders: 'Заказов нет',
    noOrdersHint: 'Новый появится сам.',
    fromNowOn: 'Заказы появляются с этого момента. Чтобы видеть и прежние, токену нужна также роль «display».',
    partsReserved: 'Запчасти в резерве: {parts}',
    minutesPlanned: 'План: {minutes} мин',
    minutesSpent: 'В работе {minutes} мин',
    minutesWaited: 'Ждёт {minutes} мин',
    mechanic: 'Механик: {name}',

    trackTitle: 'Моё место в очереди',
    yourNumber: 'Ваш номер',
    ahead: 'Перед вами',
    wait: 'Ожидание',
    aboutMinutes: '≈ {minutes} мин',
    youAreNext: 'Вы следующий',
    soon: 'скоро',
    position: 'Ваше место',
    sayWaiting: 'Мы вас вызовем. Не закрывайте страницу.',
    sayInProgress: 'Вашим автомобилем занимаются.',
    sayInBay: 'Вашим автомобилем занимаются: бокс {bay}.',
    sayBlocked: 'Работа приостановлена. Мы свяжемся с вами.',
    sayCompleted: 'Ваш автомобиль готов. Подойдите, пожалуйста, на приёмку.',
    sayCancelled: 'Этот заказ отменён.',
    car: 'Автомобиль',
    work: 'Работа',
    joinedAt: 'В очереди с',
    startedAt: 'Начали в',
    completedAt: 'Готов с',
    cancel: 'Выйти из очереди',
    cancelSure: 'Выйти из очереди?',
    cancelHint: 'Ваше место займёт следующий. Вернуть его нельзя.',
    cancelYes: 'Да, выйти',
    cancelNo: 'Остаться в очереди',
    cannotCancel: 'Отменить здесь не удалось. Скажите, пожалуйста, на приёмке.',
    askPhone: 'Введите номер телефона, который вы нам оставили.',
    phone: 'Телефон',
    show: 'Показать мой номер',
    wrongPhone: 'Заказа с таким телефоном нет.',
    noLink: 'Отсканируйте QR-код на приёмке или откройте ссылку из нашего сообщения.',
    joinTitle: 'Встать в очередь',
    joinHint: 'Стоять не нужно: мы вызовем вас по номеру.',
    make: 'Марка',
    model: 'Модель',
    plate: 'Госномер',
    workType: 'Что нужно сделать',
    description: 'Опишите в двух словах',
    optional: 'по желанию',
    join: 'Получить номер',
    sending: 'Секунду…',
    phoneWrong: 'Введите телефон с кодом страны, например +992 90 123 45 67.',
    joinUnavailable: 'Номера здесь сейчас не выдаются. Обратитесь, пожалуйста, на приёмку.',
    tooMany: 'С этим телефоном заказ уже есть, или попыток было слишком много. Попробуйте позже.',
    noAnswer: 'Сервер не отвечает. Проверьте связь; мы пробуем снова.',
    queueNow: 'Сейчас ждут: {count} · около {minutes} мин',
    queueClosed: 'Очередь сейчас закрыта.',
  },
};

const query = new URLSearchParams(location.search);
const isRussian = (query.get('lang') ?? navigator.language).toLowerCase().startsWith('ru');

export const language = isRussian ? 'ru' : 'en';

const words = WORDS[language];
const locale = isRussian ? 'ru-RU' : 'en-GB';
const clock = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit' });

/** The words of `key`, with `{names}` filled in. A word that is not known stands for itself. */
export function say(key, values = {}) {
  const known = Object.hasOwn(words, key) ? words[key] : key;
  return known.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
}

/** Hours and minutes of a time; empty when it is none. */
export function timeOf(time) {
  const date = new Date(time ?? NaN);
  return Number.isNaN(date.getTime()) ? '' : clock.format(date);
}

/** Speaks the language of the reader: everything that has `data-say`, and the title. */
export function prepare(title) {
  document.documentElement.lang = language;
  document.title = say(title);
  if (['light', 'dark'].includes(query.get('theme'))) {
    document.documentElement.dataset.theme = query.get('theme');
  }
  for (const element of document.querySelectorAll('[data-say]')) {
    element.textContent = say(element.dataset.say);
  }
  for (const element of document.querySelectorAll('[data-label]')) {
    element.setAttribute('aria-label', say(element.dataset.label));
  }
  const other = document.getElementById('language');
  if (other) {
    const there = new URL(location);
    there.searchParams.set('lang', say('other'));
    other.href = there;
    other.lang = say('other');
    other.hreflang = say('other');
  }
}
