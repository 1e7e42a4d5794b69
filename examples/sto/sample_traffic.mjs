// A morning at a car service, somewhat faster.

const CARS = [
  ['Toyota', 'Camry'], ['Lada', 'Vesta'], ['Hyundai', 'Solaris'], ['Kia', 'Rio'], ['Opel', 'Astra'],
  ['Mercedes-Benz', 'E 200'], ['Škoda', 'Octavia'], ['Chevrolet', 'Cobalt'], ['BMW', 'X5'], ['Daewoo', 'Nexia'],
];
const WORK = {
  reception: ['maintenance', ['Плановое ТО 60 000 км', 'Замена масла и фильтров', 'Замена антифриза']],
  workshop: ['repair', ['Стук в передней подвеске', 'Замена тормозных колодок', 'Течёт сальник коленвала']],
  diagnostic: ['diagnostic', ['Горит Check Engine', 'Диагностика кондиционера', 'Плохо заводится утром']],
  bodywork: ['bodywork', ['Покраска переднего бампера', 'Вмятина на левой двери', 'Полировка фар']],
};
const MECHANICS = ['Рустам', 'Сергей', 'Фаррух', 'Олег'];
const REASONS = ['Ждём запчасть', 'Ждём согласования с клиентом'];
const BAYS = 8;
const STEP_MS = 3_500;

/** What somebody who comes wants done. */
export function visitor(zone = anyOf(['reception', 'workshop', 'workshop', 'diagnostic', 'bodywork'])) {
  const [vehicleMake, vehicleModel] = anyOf(CARS);
  const [workType, descriptions] = WORK[zone];
  const digits = String(Math.floor(Math.random() * 10_000)).padStart(4, '0');
  return {
    zone,
    workType,
    workDescription: anyOf(descriptions),
    vehicleMake,
    vehicleModel,
    vehicleYear: 2008 + Math.floor(Math.random() * 16),
    licensePlate: `${digits} ${anyOf(['AA', 'BB', 'TJ', 'KX'])} 01`,
    customerPhone: `+99290000${digits}`,
    estimatedDurationMinutes: anyOf([30, 45, 60, 90]),
    priority: anyOf(['normal', 'normal', 'normal', 'normal', 'normal', 'vip', 'warranty', 'urgent']),
  };
}

/** The hall as it is in the middle of the morning. */
export async function fill(service) {
  for (const zone of ['workshop', 'reception', 'workshop', 'diagnostic', 'bodywork', 'workshop', 'reception',
    'diagnostic', 'workshop', 'bodywork', 'reception', 'workshop', 'diagnostic', 'reception']) {
    await service.create(visitor(zone));
  }
  for (const order of service.orders.slice(0, 4)) {
    await begin(service, order);
  }
  await service.change(service.orders[5], 'blocked', { blockedReason: REASONS[0] });
}

/** Goes on until the process ends. What fails is said and not repeated. */
export async function play(service) {
  for (;;) {
    await pause(STEP_MS * (0.5 + Math.random()));
    await step(service).catch((error) => console.error(`sample traffic: ${error.message}`));
  }
}

async function step(service) {
  const atWork = service.inState('in_progress');
  const waiting = service.inState('waiting');
  const [blocked] = service.inState('blocked');
  if (waiting.length < 8) {
    await service.create(visitor());
  } else if (atWork.length >= 5) {
    const order = anyOf(atWork);
    await (Math.random() < 0.2 ? service.change(order, 'blocked', { blockedReason: anyOf(REASONS) }) : service.change(order, 'completed'));
  } else if (blocked && Math.random() < 0.4) {
    await begin(service, blocked);
  } else if (Math.random() < 0.4) {
    await service.create(visitor());
  } else {
    await begin(service, waiting[0]);
  }
}

async function begin(service, order) {
  const taken = service.inState('in_progress').map(({ bayNumber }) => bayNumber);
  const free = Array.from({ length: BAYS }, (_, index) => String(index + 1)).find((bay) => !taken.includes(bay));
  await service.change(order, 'in_progress', { bayNumber: free, mechanicName: anyOf(MECHANICS), blockedReason: undefined });
}

function anyOf(list) {
  return list[Math.floor(Math.random() * list.length)];
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
